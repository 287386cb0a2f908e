"""The main phase on Ray with the student on several workers of Ray Train."""

import shutil
from collections.abc import Sequence
from typing import Any

import ray

from actors.process import to_tensors
from actors.repairs import LOST, describe
from actors.student import Offer
from actors.student_group import GroupLesson, HubActor, Posted, train
from fusion.epoch import EpochReport
from fusion.teachers import TeacherCard
from orchestrator.conversion import to_snapshot
from orchestrator.crew import Crew, StudentLost
from orchestrator.engines import Fused, Job, Observer
from orchestrator.placement import Plan
from orchestrator.sections import EngineSettings
from orchestrator.snapshot import Snapshot
from orchestrator.waiting import get

HUB = "the students' hub"
FROZEN = "WorkerHealthCheckTimeoutError"
"""Ray Train's name, which is not public, for a worker that does not answer."""


class GroupPhase:
    """Lines 11-31 of Algorithm 1, or what is left of them. The workers, and the parties with them, go back to
    the newest snapshot when any of them is lost."""

    def __init__(
        self,
        crew: Crew,
        plan: Plan,
        engine: EngineSettings,
        teachers: Sequence[TeacherCard],
        job: Job,
        observer: Observer,
    ) -> None:
        self._crew, self._plan, self._engine, self._teachers = crew, plan, engine, teachers
        self._job, self._observer = job, observer
        self._schedule = job.settings.schedule
        self._reported = job.start.iterations // self._schedule.iterations_per_epoch

    def run(self, start: Snapshot) -> Fused:
        """From `start` on, in which the parties' sessions have begun.

        Raises:
            StudentLost: a worker, or a party, is gone.
        """
        try:
            return self._run(start)
        except LOST as error:
            raise StudentLost(describe(error)) from error

    def _run(self, start: Snapshot) -> Fused:
        workers, share, lesson = len(self._plan.students), self._plan.students[0], self._crew.lesson(start)
        hub = HubActor.options(num_cpus=0).remote(
            self._crew.groups, self._engine.prefetch, workers, lesson, start.iterations
        )
        task: GroupLesson = {
            "teachers": self._teachers,
            "groups": self._crew.groups,
            "prefetch": self._engine.prefetch,
            "evaluation": self._job.evaluation,
            "threads": self._engine.threads,
            "lesson": lesson,
            "hub": hub,
        }
        place = (self._job.folder / "train").absolute()
        # What one that was lost left, or is still writing, is of no use to the next, and could stop it.
        shutil.rmtree(place, ignore_errors=True)
        running = train.remote(
            task, workers, share.bundle, str(place), f"student-{self._crew.newest_session}"
        )
        self._crew.watch.also(HUB, hub)
        try:
            return self._learnt(hub, running)
        except LOST:
            ray.cancel(running, force=True)  # It holds what the next one needs.
            raise
        finally:
            self._crew.watch.no_longer(HUB)

    def _learnt(self, hub: Any, running: Any) -> Fused:
        finished = False
        while not finished:
            finished = self._crew.over(running)
            posted: Posted = self._crew.wait(hub.read.remote())
            self._observer.advanced("fusion", posted["done"], self._schedule.iterations)
            for report, weights in posted["epochs"]:
                self._record(report, weights)
            if posted["offer"] is not None:
                self._keep(posted["offer"])
            if posted["diverged"] is not None:
                raise posted["diverged"]
        self._end(running)
        final = posted["final"]
        assert final is not None
        state, weights = final
        parties = [
            group.snapshot.remote(self._crew.sessions[members])
            for members, group in self._crew.groups.items()
        ]
        self._keep({"student": state, "parties": dict(zip(self._crew.groups, parties, strict=True))})
        return self._crew.fused(weights, self._schedule.iterations)

    def _record(self, report: EpochReport, weights: Any) -> None:
        """Tell of an epoch, unless workers that were lost later had told of it."""
        if report.epoch < self._reported:
            return
        self._observer.epoch(report)
        self._reported = report.epoch + 1
        self._observer.student(
            to_tensors(weights["student"]), self._reported * self._schedule.iterations_per_epoch
        )

    def _keep(self, offer: Offer) -> None:
        states = self._crew.wait(list(offer["parties"].values()))
        parties = {index: one for of_group in states for index, one in of_group.items()}
        snapshot = to_snapshot(offer["student"], parties, self._job.settings.rewinds)
        self._job.keeper.keep(snapshot, self._job.names)

    def _end(self, running: Any) -> None:
        """What became of the workers."""
        try:
            ray.get(running)
        except ray.exceptions.RayError as error:
            failures = getattr(getattr(error, "cause", None), "worker_failures", {}).values()
            reasons = [getattr(one, "_base_exc", one) for one in failures]
            began = "creation task" not in str(error)  # What cannot even begin will not the next time either.
            for lost in (*reasons, error) if began else ():
                if isinstance(lost, LOST) or isinstance(getattr(lost, "health_check_failure", None), LOST):
                    raise StudentLost(describe(lost)) from error
                if type(lost).__name__ == FROZEN:
                    raise StudentLost("did not answer") from error
            get(running)
