"""Mislabelled training images, to measure what a classifier remembers.

What a classifier knows of other images speaks against a canary's wrong label, so only memory of this one
makes its loss small: a stricter test of membership than images with right labels (Aerni et al., 2024).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fusion.audit.membership import Indices
from fusion.data.labelled import LabelledImages


@dataclasses.dataclass(frozen=True)
class Canary:
    """A training image and the wrong label that it is trained with."""

    index: int
    """Among all training images."""
    label: int


def draw_canaries(
    labels: NDArray[np.int64], parts: Sequence[Indices], count: int, known: Sequence[Sequence[int]], seed: int
) -> list[list[Canary]]:
    """`count` images of each part, each with a label drawn evenly from the other classes that its party
    knows.

    Raises:
        ValueError: a part has fewer images.
    """
    smallest = min(len(part) for part in parts)
    if count > smallest:
        raise ValueError(f"canaries: {count}, but the smallest party has {smallest} images")
    drawn = []
    for party, part in enumerate(parts):
        random = np.random.default_rng([seed, 2, party])
        chosen = np.sort(random.choice(part, count, replace=False))
        own = np.sort(np.array(known[party]))
        right = np.searchsorted(own, labels[chosen])
        wrong = own[(right + random.integers(1, len(own), count)) % len(own)]
        drawn.append([Canary(int(index), int(label)) for index, label in zip(chosen, wrong, strict=True)])
    return drawn


def mislabelled(images: LabelledImages, canaries: Sequence[Canary]) -> LabelledImages:
    """The same images, the canaries among them with their wrong labels."""
    labels = images.labels.clone()
    for canary in canaries:
        labels[canary.index] = canary.label
    return dataclasses.replace(images, labels=labels)
