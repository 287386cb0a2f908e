"""Labelled images in memory, for pretraining and for evaluation; a fusion itself needs none."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class DataError(ValueError):
    """A data set is missing, damaged or not what was said: one line for the user."""


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Square images with their classes."""

    images: Tensor
    """uint8 [count, channels, size, size]"""
    labels: Tensor
    """int64 [count], indices into `classes`"""
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise DataError(f"{len(self.images)} images, but {len(self.labels)} labels")
        if len(self.labels) == 0:
            raise DataError("there is no image")
        lowest, highest = int(self.labels.min()), int(self.labels.max())
        if lowest < 0 or highest >= len(self.classes):
            raise DataError(f"labels from {lowest} to {highest}, but {len(self.classes)} classes")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.images.shape[-1]

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.images.shape[1]

    def subset(self, indices: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> "LabelledImages":
        """The images at `indices`, in that order."""
        where = torch.from_numpy(indices)
        return LabelledImages(self.images[where], self.labels[where], self.classes)

    def only(self, classes: Sequence[str]) -> "LabelledImages":
        """The images of `classes`, labelled by their order.

        Raises:
            DataError: a class is not among its own, or there is no image.
        """
        if tuple(classes) == self.classes:
            return self
        position = {name: index for index, name in enumerate(self.classes)}
        if unknown := [name for name in classes if name not in position]:
            raise DataError(f"there is no class {unknown[0]!r} (there are {', '.join(self.classes)})")
        moved = torch.full((len(self.classes),), -1)
        moved[[position[name] for name in classes]] = torch.arange(len(classes))
        labels = moved[self.labels]
        kept = labels >= 0
        return LabelledImages(self.images[kept], labels[kept], tuple(classes))

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel of the pixels in [0, 1]."""
        pixels = self.images.double().div_(255)
        std, mean = torch.std_mean(pixels, dim=(0, 2, 3), correction=0)
        return tuple(round(value, 4) for value in mean.tolist()), tuple(
            round(value, 4) for value in std.tolist()
        )
