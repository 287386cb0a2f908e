"""Membership inference: can one tell from scores which images a classifier was trained on?

A score is higher for what the attacker takes for a training image. All of it is NumPy on the CPU.
"""

import dataclasses
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fusion.evaluation import logits_of
from fusion.networks import Classifier

Scores: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]

BOOTSTRAP_DRAWS = 1000
FALSE_POSITIVE_RATES = (0.01, 0.001)
DISTANCE_BATCH = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack:
    """How well members are told from non-members."""

    members: int
    others: int
    auc: float
    """Probability that a member has the higher score, ties counted half; 0.5 is chance."""
    interval: tuple[float, float]
    """95 % of bootstrap draws of the AUC lie between these."""
    tpr: dict[str, float | None]
    """By false-positive rate: the share of members above it; None where there are too few non-members."""


def attack(members: Scores, others: Scores, random: np.random.Generator) -> Attack:
    """AUC with its interval, and true-positive rates at 1 % and 0.1 % false positives."""
    return Attack(
        members=len(members),
        others=len(others),
        auc=auc(members, others),
        interval=auc_interval(members, others, random),
        tpr={f"{rate:g}": tpr_at(members, others, rate) for rate in FALSE_POSITIVE_RATES},
    )


def auc(members: Scores, others: Scores) -> float:
    """Area under the ROC curve by counting pairs (Mann-Whitney)."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, members, side="left")
    not_above = np.searchsorted(ordered, members, side="right")
    return float((below + not_above).mean() / (2 * len(others)))


def auc_interval(members: Scores, others: Scores, random: np.random.Generator) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of the AUC over draws with replacement of members and of
    non-members."""
    draws = [
        auc(random.choice(members, len(members)), random.choice(others, len(others)))
        for _ in range(BOOTSTRAP_DRAWS)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def tpr_at(members: Scores, others: Scores, rate: float) -> float | None:
    """Share of members whose score is above all but `rate` of the non-members'; None if that is less than
    one of them."""
    allowed = int(rate * len(others) + 1e-9)
    if allowed < 1:
        return None
    threshold = np.sort(others)[-allowed - 1]
    return float((members > threshold).mean())


def matched(members: Indices, others: Indices, random: np.random.Generator) -> tuple[Indices, Indices]:
    """Positions in both label arrays with the same share of each class, so that classes give no member away.

    As many members as have partners, and for each the same whole number of non-members.
    """
    count = int(max(members.max(), others.max())) + 1
    have, partners = np.bincount(members, minlength=count), np.bincount(others, minlength=count)
    times = max(1, int((partners[have > 0] // have[have > 0]).min()))
    chosen: tuple[list[Indices], list[Indices]] = ([], [])
    for label in np.flatnonzero(have):
        pairs = int(min(have[label], partners[label] // times))
        chosen[0].append(random.permutation(np.flatnonzero(members == label))[:pairs])
        chosen[1].append(random.permutation(np.flatnonzero(others == label))[: pairs * times])
    return np.concatenate(chosen[0]), np.concatenate(chosen[1])


def loss_scores(classifier: Classifier, images: Tensor, labels: Tensor, device: torch.device) -> Scores:
    """Minus the cross-entropy of each uint8 image [count, channels, size, size] at its label."""
    losses = F.cross_entropy(logits_of(classifier, images, device).double(), labels, reduction="none")
    return -losses.numpy()  # type: ignore[no-any-return]


def nearness_scores(images: Tensor, synthetic: Tensor) -> Scores:
    """Minus the Euclidean distance of each uint8 image to the nearest synthetic one, pixels in [0, 1]."""
    cloud = synthetic.flatten(1).float() / 255
    nearest = [
        torch.cdist(part.flatten(1).float() / 255, cloud).amin(dim=1) for part in images.split(DISTANCE_BATCH)
    ]
    return -torch.cat(nearest).double().numpy()  # type: ignore[no-any-return]
