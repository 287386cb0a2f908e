"""The student trainer as a Ray actor: it pulls the parties' images, a bounded number of iterations ahead."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import ray

from actors.feed import Feed
from actors.party import Iteration
from actors.process import Arrays, to_arrays, use_device
from actors.union import LabelledByParties, LabelledHere, unite
from fusion.assembly import FusionSettings, build_student
from fusion.data.labelled import LabelledImages
from fusion.epoch import EpochReport, epoch_report, party_metrics
from fusion.teachers import TeacherCard

Batches: TypeAlias = LabelledHere | LabelledByParties


class StudentWorker:
    """Trains on the union of what `groups` give (handles of `PartyActor`, by the parties that live in them).

    `teachers` that come with weights label the union here; of cards alone, the parties do
    (``labelling: parties``), while the student learns from the iteration before.
    """

    def __init__(
        self,
        teachers: Sequence[TeacherCard],
        settings: FusionSettings,
        groups: Mapping[tuple[int, ...], Any],
        prefetch: int,
        evaluation: LabelledImages | None,
        device: str,
        threads: int,
    ) -> None:
        self._student = build_student(teachers, settings, use_device(device, threads))
        self._schedule = settings.schedule
        self._groups = dict(groups)
        self._feed = Feed(list(groups.values()), prefetch, settings.schedule.iterations)
        self._evaluation = evaluation
        self._ahead: tuple[Batches, list[dict[str, float]]] | None = None
        # Worth it where the parties label meanwhile, or a copy to the device can run beside the updates.
        self._looks_ahead = prefetch > 0 and (not self._student.teachers or device != "cpu")
        self._done = 0
        self._halt = threading.Event()

    def train_epoch(self, epoch: int) -> EpochReport | None:
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
            self._done = iteration + 1
            records.append(party_metrics(self._student.names, metrics) | self._student.meter.take())
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

    def _next(self, iteration: int) -> tuple[Batches, list[dict[str, float]]]:
        """The union of `iteration` and its parties' metrics; here already if the parties were fast enough."""
        ahead, self._ahead = self._ahead, None
        return ahead if ahead is not None else self._bring(iteration)

    def _look_ahead(self, iteration: int) -> None:
        """Bring the next iteration's images here, and to who labels them, once the parties have made them."""
        if self._looks_ahead and self._ahead is None:
            calls = self._feed.peek(iteration)
            if calls and not ray.wait(calls, num_returns=len(calls), timeout=0)[1]:
                self._ahead = self._bring(iteration)

    def _bring(self, iteration: int) -> tuple[Batches, list[dict[str, float]]]:
        outputs: list[Iteration] = ray.get(self._feed.take(iteration))
        assert all(output["iteration"] == iteration for output in outputs)
        images = unite(outputs, self._student.device)
        metrics = [one for output in outputs for one in output["metrics"]]
        if self._student.teachers:
            batches: Batches = LabelledHere(images, self._student, iteration)
        else:
            batches = LabelledByParties(images, self._student, iteration, self._groups)
        # After the labels, which the parties then give before they make more images.
        self._feed.request(iteration)
        return batches, metrics


StudentActor = ray.remote(concurrency_groups={"control": 1})(StudentWorker)
