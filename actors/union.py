"""The union batches of one iteration, from the object store to what the student learns from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch
from torch import Tensor

from actors.feed import Members, Source
from actors.party import Iteration, Labels
from actors.process import as_tensor
from actors.repairs import LOST
from fusion.labelling import label
from fusion.networks import Prediction
from fusion.student import Student, View

Targets = dict[int, Prediction]


def unite(outputs: Sequence[Iteration], device: torch.device) -> Tensor:
    """The parties' images as union batches [M_S, B, channels, size, size] on `device`.

    The only copy in this machine's memory: the outputs are the object store's own.
    """
    parts = [output["images"] for output in outputs]
    batches, _, *image = parts[0].shape
    shape = (batches, sum(part.shape[1] for part in parts), *image)
    # Pinned and asynchronous: nobody waits here until the device has done the updates before it.
    pinned = device.type == "cuda"
    images = torch.empty(shape, dtype=torch.float32, pin_memory=pinned)
    np.concatenate(parts, axis=1, out=images.numpy())
    return images.to(device, non_blocking=pinned)


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
        groups: Mapping[Members, Any],
        source: Source,
    ) -> None:
        self.images = images
        self._device = student.device
        looks = [view.look(batch) for batch in images]
        self._augmented = torch.stack([own(batch) for batch, _ in looks])
        self._chosen = [chosen for _, chosen in looks]
        self._shared = ray.put(self._augmented.cpu().numpy())
        self._groups = groups
        self._source = source
        self._sessions: dict[Members, int] = {}
        self._calls = {members: self._ask(members) for members in groups if self._wanted(members)}
        self._labels: dict[int, Any] | None = None

    def batch(self, index: int) -> tuple[Tensor, Targets]:
        """Union batch `index`, augmented, and what the teachers say of it; waits for the parties."""
        if self._labels is None:
            self._labels = {}
            for members in self._calls:
                self._labels |= self._said(members)
        return self._augmented[index], {one: self._target(one, index) for one in self._chosen[index]}

    def _ask(self, members: Members) -> Any:
        self._sessions[members] = self._source.session(members)
        return self._groups[members].label.remote(self._shared, self._wanted(members))

    def _said(self, members: Members) -> dict[int, Labels]:
        """What a group says; one that is lost is asked again once it is back."""
        while True:
            try:
                said: dict[int, Labels] = ray.get(self._calls[members])
            except LOST as error:
                if self._source.session(members) == self._sessions[members]:
                    self._source.lost(members, error)
                self._calls[members] = self._ask(members)
            else:
                return said

    def _wanted(self, members: Members) -> dict[int, list[int]]:
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
