"""The student trainer as a Ray actor: it pulls the parties' images, a bounded number of iterations ahead."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import ray
import torch

from actors.party import Iteration
from actors.process import Arrays, to_arrays, use_device
from fusion.assembly import FusionSettings, build_student
from fusion.data.labelled import LabelledImages
from fusion.epoch import EpochReport, epoch_report, party_metrics
from fusion.teachers import Teacher


class StudentWorker:
    """Trains on the union of what `parties` (handles of `PartyActor`) give.

    `prefetch` iterations beyond the one in work are in flight at every party; the bound is the back-pressure.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        settings: FusionSettings,
        parties: Sequence[Any],
        prefetch: int,
        evaluation: LabelledImages | None,
        device: str,
        threads: int,
    ) -> None:
        self._student = build_student(teachers, settings, use_device(device, threads))
        self._schedule = settings.schedule
        self._parties = list(parties)
        self._prefetch = prefetch
        self._evaluation = evaluation
        self._in_flight: deque[list[Any]] = deque()
        self._requested = 0
        self._done = 0
        self._halt = threading.Event()

    def train_epoch(self, epoch: int) -> EpochReport | None:
        """The iterations of `epoch` (from 0), in order; None if it was halted on the way."""
        records = []
        first = epoch * self._schedule.iterations_per_epoch
        for iteration in range(first, first + self._schedule.iterations_per_epoch):
            started = time.perf_counter()
            outputs = self._pull(iteration)
            waited = time.perf_counter() - started
            shares = [torch.from_numpy(output["images"].copy()) for output in outputs]
            self._student.begin_iteration(iteration)
            for batch in range(self._schedule.m_s):
                if self._halt.is_set():
                    return None
                self._student.update(torch.cat([share[batch] for share in shares]))
            self._done = iteration + 1
            records.append(party_metrics(self._student.names, [output["metrics"] for output in outputs]))
            records[-1] |= self._student.meter.take()
            records[-1]["engine/wait_seconds"] = waited
        return epoch_report(epoch, records, self._student, self._evaluation)

    @ray.method(concurrency_group="control")
    def done(self) -> int:
        """Iterations that are finished; answers while `train_epoch` runs."""
        return self._done

    @ray.method(concurrency_group="control")
    def halt(self) -> None:
        """Make `train_epoch` return after the update in work."""
        self._halt.set()

    def weights(self) -> dict[str, Arrays]:
        """The state of the student and its VID parts."""
        return to_arrays(self._student.modules())

    def _pull(self, iteration: int) -> list[Iteration]:
        stop = min(iteration + self._prefetch + 1, self._schedule.iterations)
        for ahead in range(self._requested, stop):
            self._in_flight.append([party.step.remote(ahead) for party in self._parties])
        self._requested = max(self._requested, stop)
        outputs: list[Iteration] = ray.get(self._in_flight.popleft())
        assert all(output["iteration"] == iteration for output in outputs)
        return outputs


StudentActor = ray.remote(concurrency_groups={"control": 1})(StudentWorker)
