"""Scores of everything a run compares, and the summary that it leaves."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fusion.assembly import FusionSettings
from fusion.criteria import measure_criteria
from fusion.data.labelled import LabelledImages
from fusion.evaluation import agreement, class_subsets, cost, ensemble_logits, logits_of, score
from fusion.label_spaces import LabelSpace, widened
from fusion.networks import Classifier
from fusion.teachers import Teacher

Entry = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class References:
    """What the student is measured against."""

    teachers: list[Entry]
    ensemble: Entry
    gold_standard: Entry | None
    ensemble_on_test: Tensor | None
    """The ensemble's logits on the test images."""


def driver_device() -> torch.device:
    """Where the driver evaluates."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def measure_references(
    teachers: Sequence[Teacher],
    settings: FusionSettings,
    gold_standard: Teacher | None,
    test: LabelledImages | None,
    hashes: Mapping[str, str],
) -> References:
    """Each teacher, their ensemble and the gold standard; accuracies are None without test images.

    All are over all classes; a teacher is wrong on images of classes that it does not know.
    """
    device, space = driver_device(), settings.space(teachers)
    subsets = class_subsets(space)
    entries, logits = [], []
    for index, teacher in enumerate(teachers):
        classifier = teacher.build().to(device)
        entry: Entry = {"name": teacher.name, "network": teacher.network, "sha256": hashes[teacher.name]}
        outputs = logits_of(classifier, test.images, device) if test is not None else None
        logits.append(outputs)
        scores = teacher_scores(outputs, test, space, index, subsets)
        entries.append(entry | scores | cost_entry(classifier, teacher))
    known = [one for one in logits if one is not None]
    together = ensemble_of(known, settings, space) if known else None
    ensemble = scores_entry(together, test, subsets) | {
        "macs": sum(one["macs"] for one in entries),
        "parameters": sum(one["parameters"] for one in entries),
    }
    gold = None
    if gold_standard is not None and test is not None:
        outputs = logits_of(gold_standard.build().to(device), test.images, device)
        gold = {"network": gold_standard.network} | scores_entry(outputs, test, subsets)
    return References(teachers=entries, ensemble=ensemble, gold_standard=gold, ensemble_on_test=together)


def measure_student(
    student: Teacher,
    references: References,
    test: LabelledImages | None,
    synthetic: Tensor | None,
    teachers: Sequence[Teacher],
    settings: FusionSettings,
) -> Entry:
    """The student's scores, and its agreement with the ensemble: on test images, or else on `synthetic` ones.

    On `synthetic` ones also all criteria that need no labels.
    """
    device = driver_device()
    classifier = student.build().to(device)
    space = settings.space(teachers)
    subsets = class_subsets(space)
    entry: Entry = {"network": student.network} | cost_entry(classifier, student)
    entry |= scores_entry(None, None, subsets) | {"agreement": None, "agreement_on": "nothing"}
    if synthetic is not None:
        asked = [logits_of(one.build().to(device), synthetic, device) for one in teachers]
        criteria = criteria_of(logits_of(classifier, synthetic, device), asked, settings, space)
        entry |= {"agreement": criteria["agreement"], "agreement_on": "synthetic images"}
        entry["criteria"] = criteria
    if test is not None:
        assert references.ensemble_on_test is not None
        outputs = logits_of(classifier, test.images, device)
        entry |= scores_entry(outputs, test, subsets)
        together = references.ensemble_on_test
        entry |= {"agreement": agreement(outputs, together), "agreement_on": "test images"}
    return entry


def unmeasured_student(network: str) -> Entry:
    """What stands in the summary of an interrupted run, which must end soon."""
    nothing = dict.fromkeys(("accuracy", "per_class", "per_subset", "agreement", "parameters", "macs"))
    return {"network": network, "agreement_on": "nothing", **nothing}


def ensemble_of(logits: Sequence[Tensor], settings: FusionSettings, space: LabelSpace) -> Tensor:
    """The ensemble as the student's weights make it."""
    weights = settings.teacher_weights(len(logits))
    return ensemble_logits(logits, weights, space, confident=settings.confident)


def criteria_of(
    student: Tensor, said: Sequence[Tensor], settings: FusionSettings, space: LabelSpace
) -> dict[str, float | None]:
    """The criteria that need no labels, for a student's logits and what each teacher `said` of the same
    images."""
    teachers = [widened(one, space, index, -math.inf) for index, one in enumerate(said)]
    ensemble = ensemble_of(said, settings, space)
    return measure_criteria(student, teachers, settings.teacher_weights(len(said)), ensemble)


def teacher_scores(
    logits: Tensor | None,
    test: LabelledImages | None,
    space: LabelSpace,
    index: int,
    subsets: Sequence[Sequence[int]],
) -> Entry:
    """`scores_entry` of a teacher; one that knows a part of the classes has its accuracy on those as well."""
    if logits is None or test is None:
        return scores_entry(None, None, subsets)
    own = space.columns[index]
    scores = scores_entry(widened(logits, space, index, -math.inf), test, subsets)
    if len(own) < len(space.classes):
        known = set(own)
        scores["per_class"] = [
            value if label in known else None for label, value in enumerate(scores["per_class"])
        ]
        scores["accuracy_on_own_classes"] = scores["per_subset"][index]
    return scores


def scores_entry(
    logits: Tensor | None, test: LabelledImages | None, subsets: Sequence[Sequence[int]]
) -> Entry:
    """Accuracies in percent as they stand in the summary."""
    if logits is None or test is None:
        return {"accuracy": None, "per_class": None, "per_subset": None}
    return {name: _rounded(value) for name, value in dataclasses.asdict(score(logits, test, subsets)).items()}


def cost_entry(classifier: Classifier, teacher: Teacher) -> Entry:
    """Parameters, and multiply-accumulates for one image."""
    return dataclasses.asdict(cost(classifier, teacher.spec.channels, teacher.spec.size))


def gap_closed(references: References, student: Entry) -> float | None:
    """(student - best teacher) / (ensemble - best teacher), in percent; None where there is no gap to
    close."""
    accuracies = [one["accuracy"] for one in references.teachers]
    if student["accuracy"] is None or any(one is None for one in accuracies):
        return None
    gap = references.ensemble["accuracy"] - max(accuracies)
    return round(100 * (student["accuracy"] - max(accuracies)) / gap, 1) if gap > 0 else None


def table_rows(summary: Mapping[str, Any]) -> list[tuple[str, str, Entry]]:
    """(what, network, scores) of everything that was compared, the student after the ensemble."""
    rows = [(f"teacher {one['name']}", one["network"], one) for one in summary["teachers"]]
    rows.append(("teachers' ensemble", f"{len(summary['teachers'])} networks", summary["ensemble"]))
    if "student" in summary:
        rows.append(("fused student", summary["student"]["network"], summary["student"]))
    if "gold_standard" in summary:
        rows.append(("gold standard", summary["gold_standard"]["network"], summary["gold_standard"]))
    return rows


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) and math.isfinite(value) else value
