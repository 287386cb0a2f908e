"""Parties as a Ray actor: their images of an iteration leave as one NumPy array, with their loss terms.

Parties that share a device live in one actor; for all the others it makes no difference.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from actors.process import Arrays, as_tensor, to_arrays, use_device
from fusion.assembly import FusionSettings, build_party
from fusion.epoch import to_uint8
from fusion.teachers import Teacher


class Iteration(TypedDict):
    """What an actor's parties give in one iteration."""

    iteration: int
    images: NDArray[np.float32]
    """[M_S, parties * share, channels, size, size], the parties' images one after the other."""
    metrics: list[dict[str, float]]
    """One a party."""


class Labels(TypedDict):
    """What one teacher says of the union batches of one iteration, as far as it was asked."""

    logits: NDArray[np.float32]
    """[batches, B, classes]"""
    features: NDArray[np.float32]
    """[batches, B, channels, height, width]"""


class PartyWorker:
    """Parties `teachers` (by index) of `num_parties`. They run ahead of the student as far as they are asked
    to: they never look at it."""

    def __init__(
        self,
        teachers: Mapping[int, Teacher],
        num_parties: int,
        settings: FusionSettings,
        device: str,
        threads: int,
    ) -> None:
        where = use_device(device, threads)
        self._parties = {
            index: build_party(index, num_parties, teacher, settings, where)
            for index, teacher in teachers.items()
        }
        self._next = 0

    def warm_up(self, first: int, stop: int) -> list[dict[str, float]]:
        """Warm-up steps `first` to `stop - 1`; each party's mean loss terms."""
        for party in self._parties.values():
            for step in range(first, stop):
                party.warm_up_step(step)
        return [party.meter.take() for party in self._parties.values()]

    def step(self, iteration: int) -> Iteration:
        """Iteration `iteration` of the main phase; they must be asked for in order."""
        assert iteration == self._next, f"asked for iteration {iteration}, but {self._next} is next"
        self._next += 1
        images = torch.cat([party.step(iteration) for party in self._parties.values()], dim=1)
        return {
            "iteration": iteration,
            "images": images.cpu().numpy(),
            "metrics": [party.meter.take() for party in self._parties.values()],
        }

    def label(self, images: NDArray[np.float32], batches: Mapping[int, Sequence[int]]) -> dict[int, Labels]:
        """What the teachers say of augmented union batches [M_S, B, channels, size, size].

        `batches` names, for each party, which of the M_S it is to label.
        """
        union = as_tensor(images)
        labels: dict[int, Labels] = {}
        for index, wanted in batches.items():
            said = [self._parties[index].label(union[batch]) for batch in wanted]
            labels[index] = {
                "logits": torch.stack([one.logits for one in said]).cpu().numpy(),
                "features": torch.stack([one.features for one in said]).cpu().numpy(),
            }
        return labels

    def sample(self) -> list[NDArray[np.uint8]]:
        """Each party's images as they are now, from a stream that no training draws from."""
        return [to_uint8(party.preview()) for party in self._parties.values()]

    def weights(self) -> list[dict[str, Arrays]]:
        """For each party the state of its generator, its assistant and its VID part."""
        return [to_arrays(party.modules()) for party in self._parties.values()]


PartyActor = ray.remote(PartyWorker)
