"""The main phase on Ray, with the student in one actor."""

import contextlib
import time
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from actors.party import PartyState
from actors.process import to_tensors
from actors.repairs import LOST, describe
from actors.student import Offer, Status, StudentState
from fusion.epoch import EpochReport
from fusion.health import Diverged
from orchestrator.checkpoints import OutOfReach
from orchestrator.conversion import to_snapshot
from orchestrator.crew import Crew, GoBack, StudentLost
from orchestrator.engines import Fused, Job, Observer
from orchestrator.snapshot import Snapshot
from orchestrator.stopping import GRACE_SECONDS


class MainPhase:
    """Lines 11-31 of Algorithm 1, or what is left of them."""

    def __init__(self, crew: Crew, job: Job, observer: Observer) -> None:
        self._crew, self._job, self._observer = crew, job, observer
        self._schedule = job.settings.schedule
        self._reported = job.start.iterations // self._schedule.iterations_per_epoch
        self._lockstep = job.settings.method.lag is not None
        self._status: Any = None
        self._offer: Offer | None = None

    def run(self, start: Snapshot) -> Fused:
        """From `start` on, in which the parties' sessions have begun.

        Raises:
            StudentLost: it is gone.
            GoBack: a party was lost whose critic is the student.
        """
        self._status = self._offer = None
        try:
            self._crew.begin_student(start)
            return self._run(start.iterations)
        except LOST as error:
            raise StudentLost(describe(error)) from error
        except KeyboardInterrupt:
            self._halt()
            raise

    def _run(self, first: int) -> Fused:
        """One epoch is always queued behind the one in work, so the student never waits for the driver."""
        length, student = self._schedule.iterations_per_epoch, self._crew.student
        epochs = list(range(first // length, self._schedule.epochs))
        queue = [self._submit(epoch) for epoch in epochs[:1]]
        weights = student.weights.remote()
        for epoch in epochs:
            if epoch + 1 < self._schedule.epochs:
                queue.append(self._submit(epoch + 1))
            report_call, weights = queue.pop(0)
            report = self._crew.wait(report_call, self._look)
            self._record(report, self._crew.wait(weights, self._look), (epoch + 1) * length)
            self._look()  # An epoch may be over before anybody had to wait for it.
        state = self._crew.wait(student.snapshot.remote())
        calls = {
            members: group.snapshot.remote(self._crew.sessions[members])
            for members, group in self._crew.groups.items()
        }
        parties = {index: one for call in calls.values() for index, one in self._crew.wait(call).items()}
        self._job.keeper.keep(to_snapshot(state, parties, self._job.settings.rewinds), self._job.names)
        return self._crew.fused(self._crew.wait(weights), self._schedule.iterations)

    def _submit(self, epoch: int) -> tuple[Any, Any]:
        student = self._crew.student
        return student.train_epoch.remote(epoch), student.weights.remote()

    def _record(self, report: EpochReport, weights: Any, done: int) -> None:
        """Tell of an epoch, unless a student that was lost later had told of it."""
        if report.epoch < self._reported:
            return
        self._observer.epoch(report)
        self._reported = report.epoch + 1  # Only now: no checkpoint may be ahead of the journal.
        self._observer.advanced("fusion", done, self._schedule.iterations)
        self._observer.student(to_tensors(weights["student"]), done)

    def _look(self) -> None:
        """Ask the student how it is, and do what it needs; never waits for a student that does not answer."""
        student = self._crew.student
        if self._status is None:
            self._status = student.status.remote()
        if not ray.wait([self._status], timeout=0)[0]:
            return
        status: Status = ray.get(self._status)
        self._status = None
        self._observer.advanced("fusion", status["done"], self._schedule.iterations)
        for members, why in status["lost"].items():
            session = self._crew.restore(members, why)
            if self._lockstep:
                self._crew.wait(student.halt.remote())  # It is waiting for that party.
                raise GoBack(f"all others go back with {self._crew.name(members)}: the student is its critic")
            self._crew.wait(student.mended.remote(members, session))
        if status["offered"] is not None:  # Unless it was started again since.
            self._offer = self._crew.wait(student.offer.remote()) or self._offer
        self._keep_offer()

    def _keep_offer(self) -> None:
        offer, length = self._offer, self._schedule.iterations_per_epoch
        if offer is None or offer["student"]["iterations"] // length > self._reported:
            return  # A checkpoint must not be ahead of the journal.
        self._offer = None
        try:
            states = self._crew.wait(list(offer["parties"].values()))
        except LOST:
            return  # Its group was lost before its state was here; the next snapshot will have it.
        parties = {index: one for of_group in states for index, one in of_group.items()}
        snapshot = to_snapshot(offer["student"], parties, self._job.settings.rewinds)
        self._job.keeper.keep(snapshot, self._job.names)

    def _halt(self) -> None:
        """Keep the student as it is after the iteration in work, if that is over soon; the parties then catch
        up from their last snapshot. Where it is their critic they cannot, and are kept as they are after the
        same iteration. Otherwise the last snapshot is what there is."""
        student, until = self._crew.student, time.monotonic() + GRACE_SECONDS
        with contextlib.suppress(GetTimeoutError, RayError, Diverged, OutOfReach):
            ray.get(student.halt.remote(), timeout=GRACE_SECONDS)
            state: StudentState = ray.get(student.snapshot.remote(), timeout=until - time.monotonic())
            parties = self._snapshots(until) if self._lockstep else {}
            if any(one["iterations"] != state["iterations"] for one in parties.values()):
                return  # A party is lost, for which the student did not wait.
            newest = self._job.keeper.newest()
            length = self._schedule.iterations_per_epoch
            if newest.iterations < state["iterations"] and state["iterations"] // length <= self._reported:
                snapshot = to_snapshot(state, parties, self._job.settings.rewinds, newest.parties)
                self._job.keeper.keep(snapshot, self._job.names)

    def _snapshots(self, until: float) -> dict[int, PartyState]:
        """All parties as they are now.

        Raises:
            GetTimeoutError, RayError: not until then.
        """
        calls = [group.snapshot.remote(self._crew.sessions[one]) for one, group in self._crew.groups.items()]
        states = ray.get(calls, timeout=max(0.0, until - time.monotonic()))
        return {index: one for of_group in states for index, one in of_group.items()}
