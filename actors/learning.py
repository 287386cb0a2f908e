"""The student's side of the pipeline: fetch an iteration's images, have them labelled, learn from them."""

import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import ray

from actors.feed import Members, Source
from actors.party import Iteration
from actors.process import as_arrays
from actors.repairs import LOST, Halted
from actors.union import LabelledByParties, LabelledHere, unite
from fusion.data.labelled import LabelledImages
from fusion.data_parallel import mean_over_processes, shard
from fusion.epoch import EpochReport, epoch_report, party_metrics
from fusion.health import Limits, check_epoch, check_iteration
from fusion.student import Student

Batches: TypeAlias = LabelledHere | LabelledByParties
Records: TypeAlias = Sequence[Mapping[str, float]]


class Corrupted(RuntimeError):
    """What arrived is not what was sent, or not what was asked for."""


def check_arrival(output: Iteration, iteration: int) -> None:
    """Every iteration arrives once, in order, and, where there is a checksum, whole.

    Raises:
        Corrupted: it did not.
    """
    if output["iteration"] != iteration:
        raise Corrupted(f"iteration {output['iteration']} arrived in place of {iteration}")
    if output["checksum"] is not None and zlib.crc32(output["images"].data) != output["checksum"]:
        raise Corrupted(f"the images of iteration {iteration} changed on their way")


class Learning:
    """Takes `student` through the main phase; as process `rank` of `world` it learns from its share of each
    batch. The student has had `done` iterations, of which `records` are those of the epoch in work."""

    def __init__(
        self,
        student: Student,
        groups: Mapping[Members, Any],
        source: Source,
        prefetch: int,
        evaluation: LabelledImages | None,
        limits: Limits,
        halt: threading.Event,
        done: int = 0,
        records: Records = (),
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.done = done
        """Iterations that are finished."""
        self.records = [dict(one) for one in records]
        """Metrics of those of the epoch in work."""
        self.torn = False
        """Whether the student has had only a part of an iteration, so that nobody could go on from it."""
        self._student = student
        self._schedule = student.schedule
        self._groups = dict(groups)
        self._source = source
        self._evaluation = evaluation
        self._limits = limits
        self._halt = halt
        self._rank, self._world = rank, world
        lag = student.method.lag
        self._judges = lag is not None
        for had, network in student.critics.past.items():
            source.learnt(had, as_arrays(network))
        self._ahead: tuple[Batches, list[dict[str, float]]] | None = None
        # Worth it where the parties label meanwhile, or a GPU works off updates while this process fetches.
        ahead = prefetch if lag is None else lag
        self._looks_ahead = ahead > 0 and (not student.teachers or student.device.type == "cuda")

    def ask(self) -> None:
        """Have the parties at work for the next iteration, and those after it: to be called before it."""
        if self._judges:
            self._source.learnt(self.done, as_arrays(self._student.classifier.network.state_dict()))
        self._source.request(self.done)

    def iteration(self) -> None:
        """The next iteration, which was asked for.

        Raises:
            Halted: the run is to stop, and this iteration would have had to wait (`torn`: in its middle);
                where the student is the critic, for a party that is lost.
            Diverged: its numbers are no good.
        """
        iteration = self.done
        started = time.perf_counter()
        union, metrics = self._next(iteration)
        waited = time.perf_counter() - started
        self.torn = True
        self._student.begin_iteration(iteration)
        for batch in range(self._schedule.m_s):
            self._look_ahead(iteration + 1)
            started = time.perf_counter()
            images, targets = union.batch(batch)
            waited += time.perf_counter() - started
            self._student.seen = union.images[batch]
            self._student.learn(images, targets)
        learnt = self._student.meter.take()
        if self._world > 1:
            learnt = mean_over_processes(learnt)
        record = party_metrics(self._student.names, metrics) | learnt
        check_iteration(record, iteration, self._limits)
        self.records.append(record | {"engine/wait_seconds": waited})
        self.done = iteration + 1
        self.torn = False

    def report(self) -> EpochReport:
        """What there is to say after the last iteration of an epoch.

        Raises:
            Diverged: its numbers are no good.
        """
        epoch = self.done // self._schedule.iterations_per_epoch - 1
        report = epoch_report(epoch, self.records, self._student, self._evaluation)
        check_epoch(report.metrics, epoch, self.done - 1, self._limits)
        self.records = []
        return report

    def _next(self, iteration: int) -> tuple[Batches, list[dict[str, float]]]:
        """The union of `iteration` and its parties' metrics; here already if the parties were fast enough."""
        ahead, self._ahead = self._ahead, None
        return ahead if ahead is not None else self._bring(iteration)

    def _look_ahead(self, iteration: int) -> None:
        """Bring the next iteration's images here, or send them to be labelled, once the parties have made
        them."""
        if not self._looks_ahead or self._ahead is not None or iteration >= self._schedule.iterations:
            return
        calls = list(self._source.calls(iteration).values())
        if not ray.wait(calls, num_returns=len(calls), timeout=0)[1]:
            self._ahead = self._bring(iteration)

    def _bring(self, iteration: int) -> tuple[Batches, list[dict[str, float]]]:
        outputs = self._fetch(iteration)
        for output in outputs:
            check_arrival(output, iteration)
        view = self._student.view(iteration)
        parties, rank, world = len(self._student.names), self._rank, self._world
        images = unite(outputs, self._student.device)

        def own(looked: Any) -> Any:
            return looked if world == 1 else shard(looked, parties, rank, world)

        batches: Batches
        if self._student.teachers:
            batches = LabelledHere(images, self._student, view, own)
        else:
            batches = LabelledByParties(images, self._student, view, own, self._groups, self._source)
        # After the labels, which the parties then give before they make more images.
        self._source.request(iteration)
        return batches, [one for output in outputs for one in output["metrics"]]

    def _fetch(self, iteration: int) -> list[Iteration]:
        """What every group gave; a group that is lost is waited for until it gives the same again."""
        arrived: dict[Members, Iteration] = {}
        while missing := [one for one in self._groups if one not in arrived]:
            calls = self._source.calls(iteration)
            ready = ray.wait([calls[one] for one in missing], num_returns=len(missing), timeout=0.5)[0]
            if self._halt.is_set() and not ready and not self._judges:
                raise Halted
            for members in [one for one in missing if calls[one] in ready]:
                try:
                    arrived[members] = ray.get(calls[members])
                except LOST as error:
                    self._source.lost(members, error)
        self._source.taken(iteration)
        return [arrived[members] for members in self._groups]
