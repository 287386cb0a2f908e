"""The actors of a fusion on Ray: begun, watched, and mended when one is lost."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError

from actors.feed import Members
from actors.process import Arrays, to_tensors
from actors.repairs import LOST, describe
from actors.student import Lesson, StudentState
from fusion.assembly import student_spec
from fusion.teachers import TeacherCard
from orchestrator.conversion import to_party_state
from orchestrator.engines import Fused, Job, Observer
from orchestrator.sections import EngineSettings
from orchestrator.snapshot import Snapshot
from orchestrator.waiting import POLL_SECONDS, Restarts, Watch, get, never_came, not_again

STUDENT = "the student"
NOTICE_SECONDS = 10.0


class StudentLost(Exception):
    """The student's process is gone."""


class GoBack(Exception):
    """A party was lost that cannot catch up alone; it is there again, and all begin from the newest
    snapshot."""


class Crew:
    """Handles of the parties' actors and, unless it has several workers, of the student.

    A lost group of parties is restored from the newest snapshot; it then catches up. A lost student is
    restored from the newest snapshot with all parties; so is everybody where the student is the parties'
    critic, whoever is lost.
    """

    def __init__(
        self,
        groups: Mapping[Members, Any],
        student: Any,
        teachers: Sequence[TeacherCard],
        settings: EngineSettings,
        job: Job,
        observer: Observer,
        numbers: Iterator[int],
    ) -> None:
        """`teachers` are those that the student gets: with weights, or their cards alone. `numbers` are the
        sessions', none of which these actors have had."""
        self.groups = dict(groups)
        self.student = student
        self.sessions: dict[Members, int] = {}
        # What actors begin with, also those that are started again: the driver keeps it in the object store.
        self._own_teachers = {
            members: ray.put({index: job.teachers[index] for index in members}) for members in groups
        }
        self._teachers, self._evaluation = ray.put(list(teachers)), ray.put(job.evaluation)
        self._spec = student_spec(job.teachers, job.settings.classes)
        self._numbers = numbers
        self._settings = settings
        self._job = job
        self._say = observer.said
        self.restarts = Restarts(settings, observer.said)
        named = {self.name(members): handle for members, handle in groups.items()}
        if student is not None:
            named[STUDENT] = student
        self.watch = Watch(named, settings, observer.said)

    def name(self, members: Members) -> str:
        """The parties of a group, for people."""
        return " and ".join(self._job.names[index] for index in members)

    @property
    def newest_session(self) -> int:
        """The last that began, in which nothing else did."""
        return max(self.sessions.values())

    def wait(self, calls: Any, meanwhile: Callable[[], None] = lambda: None) -> Any:
        """The results; the watch goes on, and `meanwhile` is called while there are none.

        Raises:
            LOST: an actor is gone. ActorLost, Diverged: see `orchestrator.waiting.get`.
            KeyboardInterrupt: the run is to stop.
        """
        pending = calls if isinstance(calls, list) else [calls]
        self._stop_if_asked()
        while ray.wait(pending, num_returns=len(pending), timeout=POLL_SECONDS)[1]:
            self._stop_if_asked()
            self.watch.look()
            meanwhile()
        try:
            return ray.get(calls)
        except LOST:
            raise
        except ray.exceptions.RayError:
            return get(calls)

    def first(self, calls: list[Any]) -> list[Any]:
        """Those of `calls` that are over, as soon as one is."""
        while not ray.wait(calls, num_returns=1, timeout=POLL_SECONDS)[0]:
            self._stop_if_asked()
            self.watch.look()
        self._stop_if_asked()
        self.watch.look()
        return list(ray.wait(calls, num_returns=len(calls), timeout=0)[0])

    def over(self, call: Any) -> bool:
        """Whether there is a result, after a short wait."""
        self._stop_if_asked()
        self.watch.look()
        return bool(ray.wait([call], timeout=POLL_SECONDS)[0])

    def begin_groups(self, snapshot: Snapshot) -> None:
        """Have all parties be as `snapshot` says, in new sessions."""
        calls = {members: self._begin(members, snapshot) for members in self.groups}
        for members, call in calls.items():
            try:
                self.wait(call)
            except LOST as error:
                self.restore(members, describe(error), snapshot)

    def begin_student(self, snapshot: Snapshot) -> None:
        """Have the student be as `snapshot` says, with the parties' sessions as they are.

        Raises:
            LOST: it is gone.
        """

        def begin() -> Any:
            return self.student.begin.remote(
                self._teachers, dict(self.groups), self._evaluation, self.lesson(snapshot)
            )

        self._patiently(STUDENT, begin)

    def restore(self, members: Members, why: str, snapshot: Snapshot | None = None) -> int:
        """A group that was lost, from the newest snapshot; its new session.

        Raises:
            ActorLost: it was restarted too often.
        """
        while True:
            self.restarts.note(self.name(members), why)
            newest = snapshot or self._job.keeper.newest()
            try:
                self._patiently(self.name(members), partial(self._begin, members, newest))
            except LOST as error:
                why = describe(error)
                continue
            party = newest.parties.get(members[0])
            where = f"iteration {party.iterations}" if party and party.iterations else "the warm-up"
            self._say(f"{self.name(members)}: restored from {where}, catching up")
            return self.sessions[members]

    def lesson(self, snapshot: Snapshot) -> Lesson:
        """What a student is told that is to go on from `snapshot`."""
        state: StudentState | None = None
        if snapshot.student is not None:
            arrays = {name: tensor.numpy() for name, tensor in snapshot.student.items()}
            state = {"iterations": snapshot.iterations, "state": arrays, "records": snapshot.records}
        return {
            "settings": self._job.settings,
            "sessions": dict(self.sessions),
            "state": state,
            "limits": self._job.limits,
            "every": self._job.keeper.every,
        }

    def fused(self, student: Mapping[str, Arrays], iterations: int) -> Fused:
        """What a run leaves, with the parties as they are."""
        calls = [group.weights.remote(self.sessions[members]) for members, group in self.groups.items()]
        order = [index for members in self.groups for index in members]
        parties = dict(zip(order, (one for of_group in self.wait(calls) for one in of_group), strict=True))
        return Fused(
            student=to_tensors(student["student"]),
            vids=to_tensors(student["vids"]),
            parties=[
                {role: to_tensors(one) for role, one in parties[index].items()} for index in sorted(parties)
            ],
            iterations=iterations,
        )

    def kill(self) -> None:
        """End all actors."""
        kill_all(self.groups, self.student)

    def _begin(self, members: Members, snapshot: Snapshot) -> Any:
        session = self.sessions[members] = next(self._numbers)
        states = {
            index: to_party_state(snapshot.parties[index]) for index in members if index in snapshot.parties
        }
        teachers, number = self._own_teachers[members], len(self._job.teachers)
        return self.groups[members].begin.remote(
            session, teachers, number, self._job.settings, states, self._spec, self._settings.verify
        )

    def _stop_if_asked(self) -> None:
        """In a process that has others, such as a sweep's trial, it is not a signal that says so."""
        if self._job.stopping.requested:
            raise KeyboardInterrupt

    def _patiently(self, name: str, submit: Callable[[], Any]) -> Any:
        """The result of what `submit` asks of an actor that Ray is still starting again.

        Raises:
            ActorLost: that takes too long, or cannot be done.
            LOST: the actor is gone once more.
        """
        started = notice = time.monotonic()
        while True:
            try:
                return self.wait(submit())
            except ActorUnavailableError as error:
                now = time.monotonic()
                if now - started > self._settings.wait_seconds:
                    raise never_came(name, self._settings) from error
                if now - notice > NOTICE_SECONDS:
                    notice = now
                    self._say(f"{name}: waiting for the cluster to have room to start it again")
                time.sleep(POLL_SECONDS)
            except ActorDiedError as error:  # Ray starts an actor again as often as it must.
                raise not_again(name, error) from error


def kill_all(groups: Mapping[Members, Any], student: Any) -> None:
    """End the parties' actors, and the student's if it has one."""
    for handle in (*groups.values(), student):
        if handle is not None:
            ray.kill(handle)
