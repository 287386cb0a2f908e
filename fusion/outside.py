"""Teachers from other people's files.

What a file declares, what a person says of it and what its tensors tell become one `Teacher`, or one line
that says what is wrong or missing.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusion.cards import TeacherCard, card_entries, card_path
from fusion.fitting import Fit, blank_spec, count_in, fit, logits_of_code, shapes_of
from fusion.folders import FOLDER_CONFIG, FOLDER_WEIGHTS, read_folder_config
from fusion.known import EXTRA, Known, UndeclaredError
from fusion.networks import ImageSpec
from fusion.networks.names import full_name, parse_name
from fusion.safetensors_file import open_safetensors
from fusion.stored import Stored, opened
from fusion.teachers import SUFFIX, Teacher, TeacherError, check_outputs, check_values, naming, read_teacher
from fusion.torch_file import SUFFIXES, open_torch_file
from fusion.untrusted import Refused

SURPLUS = 10
"""How much larger than its weights a checkpoint may be: it also keeps averages and optimisers."""
SLACK = 100_000_000


@dataclasses.dataclass(frozen=True)
class Outside:
    """A teacher, and how it came about."""

    teacher: Teacher
    form: str
    origins: Mapping[str, str]
    """Of each thing that is known of it: 'given', 'declared' by the file, or 'inferred' from its tensors."""
    extra: Mapping[str, str]
    """Of `EXTRA`, what is known."""
    notes: tuple[str, ...]
    """What was done to the tensors."""


def read_outside(path: Path, given: Mapping[str, Any], *, allow_code: bool = False) -> Outside:
    """The classifier at `path`: a file of ours with its card, any other .safetensors or PyTorch file with a
    state dict, or a folder with config.json and weights.

    `given` is what a person says of it, which counts more than what the file declares: `name`, `network`,
    `arguments`, `classes`, `image_size`, `channels`, `mean`, `std`, `value_range`, `resize`, `licence`. Only
    with `allow_code` may the network be a Python function.

    Raises:
        UndeclaredError: something is missing; its key says what.
        TeacherError: what is wrong, and with which file.
    """
    code = parse_name(given["network"]) if "network" in given else None
    if code is not None and code.is_code and not allow_code:
        raise UndeclaredError(
            "allow_code",
            f"the network {given['network']} runs Python code; if you trust it, give allow_code: true",
        )
    own = path.suffix == SUFFIX and card_path(path).exists() and not path.is_dir()
    if own:
        return _ours(path, given)
    with naming(path):
        if path.is_dir():
            return _folder(path, given)
        if path.name in FOLDER_WEIGHTS and (path.parent / FOLDER_CONFIG).exists():
            return _folder(path.parent, given, path.name)
        return _file(path, given, {}, path.stem)


def _ours(path: Path, given: Mapping[str, Any]) -> Outside:
    network = full_name(given["network"], given.get("arguments", {})) if "network" in given else None
    teacher, entries = read_teacher(path, given.get("name"), trusted=network)
    extra = {key: entries[key] for key in EXTRA if isinstance(entries.get(key), str)}
    changed = {key: given[key] for key in given if key not in ("name", "network", "arguments", *EXTRA)}
    if "network" in given and network != teacher.network:
        changed["network"] = network
    spec = teacher.spec
    declared = {
        "network": teacher.network,
        "classes": spec.classes,
        "image_size": spec.size,
        "channels": spec.channels,
        "mean": spec.mean,
        "std": spec.std,
    }
    for key, value in changed.items():
        if _plain(declared.get(key)) != _plain(value):
            raise TeacherError(
                f"{card_path(path)}: {key}: is {_plain(declared.get(key))} in the card; leave it out"
            )
    origins = {"name": "given" if "name" in given else "declared", **dict.fromkeys(declared, "declared")}
    extra |= {key: given[key] for key in EXTRA if key in given}
    return Outside(teacher, "dfmf's, with its card", origins, extra, ())


def _folder(folder: Path, given: Mapping[str, Any], weights: str | None = None) -> Outside:
    names = [name for name in ([weights] if weights else FOLDER_WEIGHTS) if (folder / name).is_file()]
    if not names or not (folder / FOLDER_CONFIG).exists():
        raise Refused(f"a folder without config.json and {' or '.join(FOLDER_WEIGHTS)}; name the file")
    return _file(folder / names[0], given, read_folder_config(folder), folder.resolve().name)


def _file(path: Path, given: Mapping[str, Any], declared: Mapping[str, Any], label: str) -> Outside:
    if path.suffix not in (SUFFIX, *SUFFIXES):
        raise Refused(f"no kind of file that is read ({', '.join((SUFFIX, *SUFFIXES))})")
    with opened(path) as (file, size):
        stored = (open_safetensors if path.suffix == SUFFIX else open_torch_file)(file, size)
        return _assembled(stored, Known(given, declared, path, label))


def _assembled(stored: Stored, known: Known) -> Outside:
    network = known.network(stored)
    size = int(known.needed("image_size", "the side of its images in pixels, such as 32"))
    channels, count = count_in(network, stored.shapes, size=size)
    code = parse_name(network)
    is_code = code is not None and code.is_code
    if not is_code:  # Of another architecture's tensors nothing else is asked.
        assumed = blank_spec(size=size, channels=channels or 3, classes=count or 10)
        fit(stored.shapes, shapes_of(network, assumed), f"the weights of {network}")
    channels = known.agreed("channels", channels, "1 or 3")
    if is_code:
        count = logits_of_code(network, blank_spec(size=size, channels=channels, classes=2))
    classes = known.classes(count)
    mean, std = known.normalisation(channels)
    spec = ImageSpec(size=size, channels=channels, classes=classes, mean=mean, std=std)
    card = TeacherCard(name=known.name(), network=network, spec=spec)
    card_entries(card)  # Whatever no card may say is refused.
    what = f"the weights of {network} with {len(classes):,} classes"
    expected = shapes_of(network, spec)
    fitted = fit(stored.shapes, expected, what)
    most = SURPLUS * sum(one.nbytes for one in expected.values()) + SLACK
    if stored.size > most:
        raise Refused(f"larger than {what} can be ({stored.size:,} bytes, at most {most:,})")
    weights = _weights(stored, expected, fitted)
    check_values(weights)
    teacher = Teacher(name=card.name, network=network, spec=spec, weights=weights)
    check_outputs(teacher)
    return Outside(teacher, stored.form, known.origins, known.extra(), _notes(fitted))


def _weights(stored: Stored, expected: Mapping[str, Tensor], fitted: Fit) -> dict[str, Tensor]:
    """Copies, float32 where the network has it: files may hold tensors that share memory, or are views."""
    loaded = stored.load()
    weights = {}
    for name, like in expected.items():
        if name in fitted.names:
            tensor = loaded[fitted.names[name]].to(like.dtype)
            weights[name] = tensor.clone(memory_format=torch.contiguous_format)
        else:
            weights[name] = torch.zeros(like.shape, dtype=like.dtype)
    return weights


def _notes(fitted: Fit) -> tuple[str, ...]:
    notes = []
    if fitted.prefix:
        notes.append(f"the prefix {fitted.prefix!r} of its tensors' names is stripped")
    if fitted.left_out:
        notes.append(f"{len(fitted.left_out)} tensors that are not the network's are left out")
    if fitted.halves:
        notes.append(f"{fitted.halves} tensors of half precision become float32")
    if fitted.counters:
        notes.append(f"{len(fitted.counters)} BatchNorm counters that it lacks start at 0")
    return tuple(notes)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, (list, tuple)) else value
