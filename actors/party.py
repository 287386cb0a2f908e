"""A party as a Ray actor: its images of an iteration leave as one NumPy array, with its loss terms."""

from typing import TypedDict

import numpy as np
import ray
from numpy.typing import NDArray

from actors.process import Arrays, to_arrays, use_device
from fusion.assembly import FusionSettings, build_party
from fusion.epoch import to_uint8
from fusion.teachers import Teacher


class Iteration(TypedDict):
    """What a party gives in one iteration."""

    iteration: int
    images: NDArray[np.float32]
    """[M_S, share, channels, size, size]"""
    metrics: dict[str, float]


class PartyWorker:
    """Party `index` of `num_parties`. It runs ahead of the student as far as it is asked to: it never looks
    at it."""

    def __init__(
        self,
        index: int,
        num_parties: int,
        teacher: Teacher,
        settings: FusionSettings,
        device: str,
        threads: int,
    ) -> None:
        self._party = build_party(index, num_parties, teacher, settings, use_device(device, threads))
        self._next = 0

    def warm_up(self, first: int, stop: int) -> dict[str, float]:
        """Warm-up steps `first` to `stop - 1`; the mean loss terms."""
        for step in range(first, stop):
            self._party.warm_up_step(step)
        return self._party.meter.take()

    def step(self, iteration: int) -> Iteration:
        """Iteration `iteration` of the main phase; they must be asked for in order."""
        assert iteration == self._next, f"asked for iteration {iteration}, but {self._next} is next"
        self._next += 1
        images = self._party.step(iteration).cpu().numpy()
        return {"iteration": iteration, "images": images, "metrics": self._party.meter.take()}

    def sample(self) -> NDArray[np.uint8]:
        """Images as they are now, from a stream that no training draws from."""
        return to_uint8(self._party.preview())

    def weights(self) -> dict[str, Arrays]:
        """The state of the generator, the assistant and its VID part."""
        return to_arrays(self._party.modules())


PartyActor = ray.remote(PartyWorker)
