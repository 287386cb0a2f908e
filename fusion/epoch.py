"""What an engine tells of each epoch of the main phase."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.data.labelled import LabelledImages
from fusion.evaluation import logits_of, percent
from fusion.student import Student

GRID_IMAGES = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One epoch: mean loss terms, the student's accuracy, and a look at the synthetic images."""

    epoch: int
    """From 0; -1 is the end of the warm-up."""
    metrics: Mapping[str, float]
    accuracy: float | None
    """In percent, on the evaluation images; None without them, and after the warm-up."""
    samples: Mapping[str, NDArray[np.uint8]]
    """By party: images [count, channels, size, size] of the last union batch."""


def mean_metrics(records: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each metric over the iterations that have it."""
    names = dict.fromkeys(name for record in records for name in record)
    return {name: float(np.mean([one[name] for one in records if name in one])) for name in names}


def party_metrics(names: Sequence[str], metrics: Sequence[dict[str, float]]) -> dict[str, float]:
    """Loss terms by role and party: ``generator/adv`` of party A becomes ``generator/A/adv``."""
    return {
        f"{role}/{name}/{term}": value
        for name, of_party in zip(names, metrics, strict=True)
        for role, _, term, value in ((*key.partition("/"), value) for key, value in of_party.items())
    }


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Up to 64 images of the common space as pixels, clipped to [0, 1]."""
    pixels = images[:GRID_IMAGES].detach().cpu().float().clamp(0, 1)
    return (pixels * 255).round().to(torch.uint8).numpy()


def epoch_report(
    epoch: int, records: list[dict[str, float]], student: Student, evaluation: LabelledImages | None
) -> EpochReport:
    """What there is to say after the last iteration of `epoch`; `records` are its iterations' metrics."""
    accuracy = None
    if evaluation is not None:
        logits = logits_of(student.classifier, evaluation.images, student.device)
        accuracy = percent(logits.argmax(dim=1) == evaluation.labels)
    assert student.seen is not None
    shares = zip(student.names, student.seen.chunk(len(student.names)), strict=True)
    return EpochReport(
        epoch=epoch,
        metrics=mean_metrics(records),
        accuracy=accuracy,
        samples={name: to_uint8(images) for name, images in shares},
    )
