"""The union batches of one iteration, from the object store to what the student learns from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch
from torch import Tensor

from actors.party import Iteration
from actors.process import as_tensor
from fusion.labelling import label
from fusion.networks import Prediction
from fusion.student import Student, View

Targets = dict[int, Prediction]


def unite(outputs: Sequence[Iteration], device: torch.device) -> Tensor:
    """The parties' images as union batches [M_S, B, channels, size, size] on `device`.

    The only copy that is made of them: the outputs are the object store's own memory.
    """
    images = torch.from_numpy(np.concatenate([output["images"] for output in outputs], axis=1))
    if device.type == "cuda":
        # Pinned and asynchronous: the copy runs beside the kernels of the updates in work.
        return images.pin_memory().to(device, non_blocking=True)
    return images


class LabelledHere:
    """Union batches that the student's own copies of the teachers label, one at a time.

    `own` picks what this process learns from out of an augmented batch.
    """

    def __init__(self, images: Tensor, student: Student, view: View, own: Callable[[Tensor], Tensor]) -> None:
        self.images = images
        self._student = student
        self._view = view
        self._own = own

    def batch(self, index: int) -> tuple[Tensor, Targets]:
        """Union batch `index`, augmented, and what the teachers say of it; to be called in order."""
        images, chosen = self._view.look(self.images[index])
        images = self._own(images)
        teachers, compute = self._student.teachers, self._student.compute
        return images, {one: label(teachers[one], images, compute) for one in chosen}


class LabelledByParties:
    """Union batches that are augmented here and labelled by the actors in which the teachers live."""

    def __init__(
        self,
        images: Tensor,
        student: Student,
        view: View,
        own: Callable[[Tensor], Tensor],
        groups: Mapping[tuple[int, ...], Any],
    ) -> None:
        self.images = images
        self._device = student.device
        looks = [view.look(batch) for batch in images]
        self._augmented = torch.stack([own(batch) for batch, _ in looks])
        self._chosen = [chosen for _, chosen in looks]
        shared = ray.put(self._augmented.cpu().numpy())
        self._calls = [
            group.label.remote(shared, wanted)
            for members, group in groups.items()
            if (wanted := self._wanted(members))
        ]
        self._labels: dict[int, Any] | None = None

    def batch(self, index: int) -> tuple[Tensor, Targets]:
        """Union batch `index`, augmented, and what the teachers say of it; waits for the parties."""
        if self._labels is None:
            self._labels = {one: said for part in ray.get(self._calls) for one, said in part.items()}
        return self._augmented[index], {one: self._target(one, index) for one in self._chosen[index]}

    def _wanted(self, members: tuple[int, ...]) -> dict[int, list[int]]:
        batches = {
            one: [batch for batch, chosen in enumerate(self._chosen) if one in chosen] for one in members
        }
        return {one: wanted for one, wanted in batches.items() if wanted}

    def _target(self, party: int, batch: int) -> Prediction:
        assert self._labels is not None
        position = sum(party in chosen for chosen in self._chosen[:batch])
        said = self._labels[party]
        return Prediction(
            *(as_tensor(said[name][position]).to(self._device) for name in ("logits", "features"))
        )
