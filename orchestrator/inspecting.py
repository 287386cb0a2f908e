"""What can be told of a classifier before it is fused, and writing it as one of ours."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from fusion.batchnorm import bn_layers
from fusion.evaluation import calibration_error, cost, logits_of, percent
from fusion.label_spaces import label_space
from fusion.networks import Classifier
from fusion.networks.names import parse_name
from fusion.outside import Outside
from fusion.teachers import SUFFIX, Teacher, TeacherError, save_teacher
from orchestrator.errors import UserError, user_error
from orchestrator.label_spaces import order_lines
from orchestrator.loading import load_config
from orchestrator.run_folder import check_target
from orchestrator.sources import read_source
from orchestrator.teacher_source import TeacherSource
from orchestrator.teachers import check_data, read_data
from orchestrator.yaml_text import parse_yaml

Report = dict[str, Any]


def inspect(
    source: str, given: Sequence[str], data: str | None = None, registry: str | None = None
) -> Report:
    """Everything that is known of the classifier at `source`, and what a fusion will use of it.

    `given` are ``key=value`` as a configuration has them under `teachers`; `data` is a configuration or
    preset on whose test images it is measured; `registry` is where models:/ are looked up.

    Raises:
        UserError: it is no classifier, something has to be given, or there is nothing to measure it on.
    """
    outside = read_source(section(source, given), "", registry)
    teacher, spec = outside.teacher, outside.teacher.spec
    classifier = teacher.build()
    counted = cost(classifier, spec.channels, spec.size)
    layers = bn_layers(classifier)
    report: Report = {
        "source": source,
        "form": outside.form,
        "name": teacher.name,
        "network": teacher.network,
        "image_size": spec.size,
        "channels": spec.channels,
        "classes": list(spec.classes),
        "mean": list(spec.mean),
        "std": list(spec.std),
        **outside.extra,
        "origins": dict(outside.origins),
        "notes": list(outside.notes),
        "parameters": counted.parameters,
        "macs": counted.macs,
        "batch_norms": len(layers),
        "batch_norms_trained": sum(_is_trained(layer) for layer in layers),
        "feature_map": _feature_map(classifier, spec.channels, spec.size),
    }
    return report if data is None else report | _measured(outside, classifier, data)


def convert(source: str, given: Sequence[str], to: Path, registry: str | None = None) -> list[str]:
    """Write the classifier at `source` as `to` and its card; returns what to say of it.

    Raises:
        UserError: as `inspect`; or there is such a file already, or it cannot be written.
    """
    if to.suffix != SUFFIX:
        raise UserError(f"--to: {to}: must end in {SUFFIX}")
    for path in (to, to.with_suffix(".json")):
        check_target(path, "--to: ")
        if path.exists():
            raise UserError(f"{path}: is there already; give another file with --to")
    outside = read_source(section(source, given), "", registry)
    try:
        save_teacher(outside.teacher, to, **outside.extra)
    except OSError as error:
        raise UserError(f"{to}: {error.strerror}") from error
    except TeacherError as error:
        raise UserError(str(error)) from error
    said = [*outside.notes, f"wrote {to} and {to.with_suffix('.json')}; fuse it with: teachers: [{to}, ...]"]
    return said + surroundings_note(outside.teacher)


def surroundings_note(teacher: Teacher) -> list[str]:
    """What its card alone does not bring about."""
    foreign = parse_name(teacher.network)
    if foreign is None or not (foreign.is_code or foreign.arguments):
        return []
    return ["its network is only built for those who give the same 'network' and 'arguments' with it"]


def lines(report: Report) -> list[str]:
    """The report for people."""

    def origin(key: str) -> str:
        return f" ({report['origins'][key]})" if key in report["origins"] else ""

    said = [f"{report['source']}: {report['form']}", *(f"  {note}" for note in report["notes"])]
    said += [
        f"{key.replace('_', ' ')}: {report[key]}{origin(key)}"
        for key in ("name", "network", "image_size", "channels", "mean", "std", "resize", "licence")
        if key in report
    ]
    classes, shown = report["classes"], ", ".join(report["classes"][:10])
    said.append(
        f"classes: {len(classes):,}{origin('classes')}: {shown}{', ...' if len(classes) > 10 else ''}"
    )
    said.append(
        f"parameters: {report['parameters']:,}; multiply-accumulates of one image: {report['macs']:,}"
    )
    total, trained = report["batch_norms"], report["batch_norms_trained"]
    channels, height, width = report["feature_map"]
    said.append(f"BatchNorm layers: {total}, of which {trained} have statistics that are not 0 and 1")
    said.append(f"a fusion uses: {_bn_words(total, trained)}; VID on a map of {channels}x{height}x{width}")
    if "accuracy" in report:
        said.append(
            f"on {report['images']:,} images of {report['data']}: accuracy {report['accuracy']:.2f} %, "
            f"expected calibration error {report['calibration_error']:.4f} (15 bins)"
        )
    return said


def _bn_words(total: int, trained: int) -> str:
    if total == 0:
        return "no BN loss (it has no BatchNorm with statistics)"
    if trained == 0:
        return "the BN loss, but these statistics are those of a network that was never trained"
    return "the BN loss"


def _is_trained(layer: torch.nn.modules.batchnorm._BatchNorm) -> bool:
    assert layer.running_mean is not None and layer.running_var is not None
    return bool((layer.running_mean != 0).any() or (layer.running_var != 1).any())


@torch.no_grad()
def _feature_map(classifier: Classifier, channels: int, size: int) -> list[int]:
    return list(classifier(torch.zeros(1, channels, size, size)).features.shape[1:])


def _measured(outside: Outside, classifier: Classifier, data: str) -> Report:
    images = read_data(load_config(data))
    if images is None:
        raise UserError(f"--data: {data} has no section 'data'")
    teacher = outside.teacher
    space = label_space([teacher.spec.classes])
    test = check_data([teacher], space, images[1])
    logits = logits_of(classifier, test.images, torch.device("cpu"))
    return {
        "data": data,
        "notes": [*outside.notes, *order_lines(space, test)],
        "images": len(test),
        "accuracy": percent(logits.argmax(dim=1) == test.labels),
        "calibration_error": calibration_error(logits, test.labels),
    }


def section(source: str, given: Sequence[str]) -> TeacherSource:
    """What a configuration has under `teachers`, from the command line.

    Raises:
        UserError: it is none; one line for each mistake.
    """
    tree: dict[str, Any] = {"source": source}
    for one in given:
        key, equals, text = one.partition("=")
        if not equals or not key:
            raise user_error(f"{one}: must be KEY=VALUE, such as image_size=32")
        tree[key] = parse_yaml(text, one)
    try:
        return TeacherSource.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise user_error(*(_line(problem) for problem in error.errors())) from error
    except (TypeError, ValueError) as error:
        raise user_error(str(error)) from error


def _line(problem: Any) -> str:
    place = str(problem["loc"][0]) if problem["loc"] else ""
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = f"unknown key (known: {', '.join(TeacherSource.model_fields)})"
    return f"{place}: {message}" if place else message
