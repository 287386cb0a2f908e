"""The student's side of the pipeline: fetch an iteration's images, have them labelled, learn from them."""

import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import ray

from actors.party import Iteration
from actors.union import LabelledByParties, LabelledHere, unite
from fusion.data.labelled import LabelledImages
from fusion.data_parallel import mean_over_processes, shard
from fusion.epoch import EpochReport, epoch_report, party_metrics
from fusion.student import Student

Batches: TypeAlias = LabelledHere | LabelledByParties


class Source(Protocol):
    """Where the parties' images come from: `actors.feed.Feed`, or one that several processes share."""

    def request(self, iteration: int) -> None:
        """Have `iteration` and the ones after it in flight, as far as the run prefetches."""

    def take(self, iteration: int) -> list[Any]:
        """The calls that give `iteration`, one a group of parties."""


class Learning:
    """Takes `student` through the main phase; as process `rank` of `world` it learns from its share of each
    batch."""

    def __init__(
        self,
        student: Student,
        groups: Mapping[tuple[int, ...], Any],
        source: Source,
        prefetch: int,
        evaluation: LabelledImages | None,
        halt: threading.Event,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.done = 0
        """Iterations that are finished."""
        self._student = student
        self._schedule = student.schedule
        self._groups = dict(groups)
        self._source = source
        self._evaluation = evaluation
        self._halt = halt
        self._rank, self._world = rank, world
        self._coming: list[Any] | None = None
        self._ahead: tuple[Batches, list[dict[str, float]]] | None = None
        # Worth it where the parties label meanwhile, or a copy to the device can run beside the updates.
        self._looks_ahead = prefetch > 0 and (not student.teachers or student.device.type == "cuda")

    def epoch(self, epoch: int) -> EpochReport | None:
        """The iterations of `epoch` (from 0), in order; None if it was halted on the way."""
        records = []
        first = epoch * self._schedule.iterations_per_epoch
        for iteration in range(first, first + self._schedule.iterations_per_epoch):
            started = time.perf_counter()
            union, metrics = self._next(iteration)
            waited = time.perf_counter() - started
            self._student.begin_iteration(iteration)
            for batch in range(self._schedule.m_s):
                if self._halt.is_set():
                    return None
                self._look_ahead(iteration + 1)
                started = time.perf_counter()
                images, targets = union.batch(batch)
                waited += time.perf_counter() - started
                self._student.seen = union.images[batch]
                self._student.learn(images, targets)
            self.done = iteration + 1
            learnt = self._student.meter.take()
            if self._world > 1:
                learnt = mean_over_processes(learnt)
            records.append(party_metrics(self._student.names, metrics) | learnt)
            records[-1]["engine/wait_seconds"] = waited
        return epoch_report(epoch, records, self._student, self._evaluation)

    def _next(self, iteration: int) -> tuple[Batches, list[dict[str, float]]]:
        """The union of `iteration` and its parties' metrics; here already if the parties were fast enough."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            return ahead
        self._source.request(iteration)
        calls = self._coming or self._source.take(iteration)
        return self._bring(iteration, calls)

    def _look_ahead(self, iteration: int) -> None:
        """Bring the next iteration's images here, or send them to be labelled, once the parties have made
        them."""
        if not self._looks_ahead or self._ahead is not None or iteration >= self._schedule.iterations:
            return
        if self._coming is None:
            self._coming = self._source.take(iteration)
        if not ray.wait(self._coming, num_returns=len(self._coming), timeout=0)[1]:
            self._ahead = self._bring(iteration, self._coming)

    def _bring(self, iteration: int, calls: list[Any]) -> tuple[Batches, list[dict[str, float]]]:
        self._coming = None
        outputs: list[Iteration] = ray.get(calls)
        assert all(output["iteration"] == iteration for output in outputs)
        view = self._student.view(iteration)
        parties, rank, world = len(self._student.names), self._rank, self._world
        images = unite(outputs, self._student.device)

        def own(looked: Any) -> Any:
            return looked if world == 1 else shard(looked, parties, rank, world)

        batches: Batches
        if self._student.teachers:
            batches = LabelledHere(images, self._student, view, own)
        else:
            batches = LabelledByParties(images, self._student, view, own, self._groups)
        # After the labels, which the parties then give before they make more images.
        self._source.request(iteration)
        return batches, [one for output in outputs for one in output["metrics"]]
