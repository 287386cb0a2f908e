"""Parties as a Ray actor: their images of an iteration leave as one NumPy array, with their loss terms.

Parties that share a device live in one actor; for all the others it makes no difference.
"""

import dataclasses
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypedDict

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from actors.process import Arrays, as_tensor, to_arrays, to_tensors, use_device
from fusion.assembly import FusionSettings, build_party
from fusion.critics import Weights
from fusion.epoch import to_uint8
from fusion.networks import ImageSpec
from fusion.party import Party
from fusion.teachers import Teacher


class Iteration(TypedDict):
    """What an actor's parties give in one iteration."""

    iteration: int
    images: NDArray[np.float32]
    """[M_S, parties * share, channels, size, size], the parties' images one after the other."""
    metrics: list[dict[str, float]]
    """One a party."""
    checksum: int | None
    """Of the images, if they are to be verified where they arrive."""


class Labels(TypedDict):
    """What one teacher says of the union batches of one iteration, as far as it was asked."""

    logits: NDArray[np.float32]
    """[batches, B, classes]"""
    features: NDArray[np.float32]
    """[batches, B, channels, height, width]"""


class PartyState(TypedDict):
    """A party after so many updates of the warm-up and iterations of the main phase."""

    warmup_steps: int
    iterations: int
    state: Arrays


class Stale(RuntimeError):
    """A call of a session that is over: its caller is gone, or this process is a new one."""


@dataclasses.dataclass
class _Member:
    """A party, and how far it is."""

    party: Party
    warmup_steps: int = 0
    iterations: int = 0
    halted: bool = False

    def warm_up(self, stop: int) -> None:
        """The warm-up's updates up to `stop`."""
        for step in range(self.warmup_steps, stop):
            if self.halted:
                return
            self.party.warm_up_step(step)
            self.warmup_steps = step + 1

    def step(self, critic: Weights | None = None) -> torch.Tensor:
        """The next iteration of the main phase."""
        images = self.party.step(self.iterations, critic)
        self.iterations += 1
        return images


class PartyWorker:
    """Some of a run's parties. They run ahead of the student as far as they are asked to: they never look at
    it, unless it is their critic, whose weights then come with each iteration.

    Nothing can be called before `begin`, which brings everything that is large: Ray does not keep a
    constructor's arguments for a process that it starts again. What is called with another session's number
    is refused, so that the calls of a student that died change nothing.
    """

    def __init__(self, device: str, threads: int) -> None:
        self._device = use_device(device, threads)
        self._session: int | None = None
        self._members: dict[int, _Member] = {}
        self._calls_done = 0
        self._calls_begun = 0

    def begin(
        self,
        session: int,
        teachers: Mapping[int, Teacher],
        num_parties: int,
        settings: FusionSettings,
        states: Mapping[int, PartyState],
        student: ImageSpec,
        verify: bool = False,
    ) -> None:
        """Be the parties `teachers` (by index) of `num_parties`, as `states` say; one that they do not name
        is a fresh one. `student` is what the student takes and knows."""
        self._members = {}
        for index, teacher in teachers.items():
            party = build_party(index, num_parties, teacher, settings, self._device, student)
            self._members[index] = _Member(party)
            if index in states:
                party.restore(to_tensors(states[index]["state"]))
                self._members[index].warmup_steps = states[index]["warmup_steps"]
                self._members[index].iterations = states[index]["iterations"]
        self._schedule = settings.schedule
        self._verify = verify
        self._session = session

    def warm_up(self, session: int, stop: int) -> list[dict[str, float]]:
        """The warm-up's updates up to `stop`; each party's mean loss terms, of those that were left. None of
        a party that was halted before: it keeps them for the snapshot."""
        with self._at_work(session):
            members = self._members.values()
            for member in members:
                member.warm_up(stop)
            return [member.party.meter.take() if member.warmup_steps >= stop else {} for member in members]

    def step(self, session: int, iteration: int, critic: Arrays | None = None) -> Iteration:
        """Iteration `iteration` of the main phase; they must be asked for in order. `critic` is the student's
        network, where it judges."""
        with self._at_work(session):
            members = self._members.values()
            assert all(member.iterations == iteration for member in members)
            judge = None if critic is None else {name: as_tensor(array) for name, array in critic.items()}
            images = torch.cat([member.step(judge) for member in members], dim=1).cpu().numpy()
            return {
                "iteration": iteration,
                "images": images,
                "metrics": self._take_metrics(),
                "checksum": zlib.crc32(images.data) if self._verify else None,
            }

    def replay(self, session: int, stop: int) -> None:
        """Everything up to the end of iteration `stop - 1`, whose images are there already. Where the student
        is the critic only the warm-up can be done again: what it was in each iteration is gone."""
        with self._at_work(session):
            for member in self._members.values():
                member.warm_up(self._schedule.warmup_steps)
                while member.iterations < stop:
                    member.step()
            self._take_metrics()

    def snapshot(self, session: int) -> dict[int, PartyState]:
        """Each party as it is after the calls before this one."""
        with self._at_work(session):
            return {
                index: {
                    "warmup_steps": member.warmup_steps,
                    "iterations": member.iterations,
                    "state": {name: tensor.numpy() for name, tensor in member.party.state().items()},
                }
                for index, member in self._members.items()
            }

    def label(self, images: NDArray[np.float32], batches: Mapping[int, Sequence[int]]) -> dict[int, Labels]:
        """What the teachers say of augmented union batches [M_S, B, channels, size, size].

        `batches` names, for each party, which of the M_S it is to label.
        """
        with self._at_work(self._session):
            union = as_tensor(images)
            labels: dict[int, Labels] = {}
            for index, wanted in batches.items():
                said = [self._members[index].party.label(union[batch]) for batch in wanted]
                labels[index] = {
                    "logits": torch.stack([one.logits for one in said]).cpu().numpy(),
                    "features": torch.stack([one.features for one in said]).cpu().numpy(),
                }
            return labels

    def sample(self, session: int) -> list[NDArray[np.uint8]]:
        """Each party's images as they are now, from a stream that no training draws from."""
        with self._at_work(session):
            return [to_uint8(member.party.preview()) for member in self._members.values()]

    def weights(self, session: int) -> list[dict[str, Arrays]]:
        """For each party the state of its generator, its assistant and its VID part."""
        with self._at_work(session):
            return [to_arrays(member.party.modules()) for member in self._members.values()]

    @ray.method(concurrency_group="control")
    def halt(self) -> None:
        """Do no further update of the warm-up until the next `begin`: the run stops."""
        for member in list(self._members.values()):
            member.halted = True

    @ray.method(concurrency_group="control")
    def pulse(self) -> tuple[int, bool]:
        """A number that changes while there is progress, and whether there is work; answers at any time."""
        updates = sum(member.party.updates for member in list(self._members.values()))
        return self._calls_done + updates, self._calls_begun > self._calls_done

    def _take_metrics(self) -> list[dict[str, float]]:
        return [member.party.meter.take() for member in self._members.values()]

    @contextmanager
    def _at_work(self, session: int | None) -> Iterator[None]:
        if self._session is None or session != self._session:
            raise Stale(f"session {session} is not {self._session}")
        self._calls_begun += 1
        try:
            yield
        finally:
            self._calls_done += 1


PartyActor = ray.remote(concurrency_groups={"control": 1})(PartyWorker)
