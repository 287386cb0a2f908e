"""The student trainer as a Ray actor: it pulls the parties' images, a bounded number of iterations ahead."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import ray

from actors.feed import Calls, Feed, Members
from actors.interval import Interval
from actors.learning import Learning, Records
from actors.process import Arrays, to_arrays, to_tensors, use_device
from actors.repairs import Halted, Reasons, Repairs
from fusion.assembly import FusionSettings, build_student
from fusion.data.labelled import LabelledImages
from fusion.epoch import EpochReport
from fusion.health import Limits
from fusion.student import Student
from fusion.teachers import TeacherCard


class StudentState(TypedDict):
    """The student after so many iterations."""

    iterations: int
    state: Arrays
    records: Records
    """Metrics of those of the epoch in work."""


def student_state(student: Student, learning: Learning) -> StudentState:
    """`student` as `learning` has made it so far, between two iterations."""
    assert not learning.torn, "in the middle of an iteration"
    return {
        "iterations": learning.done,
        "state": {name: tensor.numpy() for name, tensor in student.state().items()},
        "records": learning.records.copy(),
    }


class Lesson(TypedDict):
    """What the student is told when it begins."""

    settings: FusionSettings
    sessions: Mapping[Members, int]
    """Those that the groups of parties have begun, at the student's iteration or before it."""
    state: StudentState | None
    """None: a fresh student."""
    limits: Limits
    every: tuple[int | None, float | None]
    """Iterations and seconds between two snapshots."""


class Offer(TypedDict):
    """A snapshot of the run: the student's part, and the calls that give the parties'."""

    student: StudentState
    parties: Calls


class Status(TypedDict):
    """How far the student is, and what it needs."""

    done: int
    offered: int | None
    """The newest snapshot's iterations."""
    lost: Reasons


class _Repaired(Feed):
    """A feed whose lost groups are restored by the driver."""

    def __init__(self, repairs: Repairs, *args: Any) -> None:
        super().__init__(*args)
        self._repairs = repairs

    def lost(self, members: Members, error: Exception) -> None:
        """See `Source`."""
        self.again(members, self._repairs.wait(members, error))


class StudentWorker:
    """Trains on the union of what the parties give."""

    def __init__(self, prefetch: int, device: str, threads: int) -> None:
        self._device = use_device(device, threads)
        self._prefetch = prefetch
        self._halt = threading.Event()
        self._repairs = Repairs(self._halt)
        self._learning: Learning | None = None
        self._offer: Offer | None = None

    def begin(
        self,
        teachers: Sequence[TeacherCard],
        groups: Mapping[Members, Any],
        evaluation: LabelledImages | None,
        lesson: Lesson,
    ) -> None:
        """Be as `lesson` says; to be called before everything else.

        `groups` are handles of `PartyActor`, by the parties that live in them. `teachers` that come with
        weights label the union here; of cards alone, the parties do (``labelling: parties``), while the
        student learns from the iteration before.
        """
        state, schedule = lesson["state"], lesson["settings"].schedule
        self._halt = threading.Event()  # This process may have taught another student before.
        self._repairs, self._offer = Repairs(self._halt), None
        self._student = build_student(teachers, lesson["settings"], self._device)
        first = 0
        records: Records = ()
        if state is not None:
            self._student.restore(to_tensors(state["state"]))
            first, records = state["iterations"], state["records"]
        self._feed = _Repaired(
            self._repairs,
            groups,
            lesson["sessions"],
            self._prefetch,
            first,
            schedule.iterations,
            Interval(*lesson["every"]),
            lesson["settings"].method.lag,
        )
        self._learning = Learning(
            self._student,
            groups,
            self._feed,
            self._prefetch,
            evaluation,
            lesson["limits"],
            self._halt,
            first,
            records,
        )

    def train_epoch(self, epoch: int) -> EpochReport | None:
        """The iterations of `epoch` (from 0) that are left; None if it was halted on the way.

        Raises:
            Diverged: the numbers are no good.
        """
        assert self._learning is not None
        try:
            while self._learning.done < (epoch + 1) * self._student.schedule.iterations_per_epoch:
                if not self._halt.is_set():
                    self._learning.ask()
                elif self._feed.settled():
                    return None
                if self._learning.done in self._feed.snapshots:
                    parties = self._feed.snapshots.pop(self._learning.done)
                    self._offer = {"student": self.snapshot(), "parties": parties}
                self._learning.iteration()
        except Halted:
            return None
        return self._learning.report()

    def snapshot(self) -> StudentState:
        """The student as it is between two iterations."""
        assert self._learning is not None
        return student_state(self._student, self._learning)

    def weights(self) -> dict[str, Arrays]:
        """The state of the student and its VID parts."""
        return to_arrays(self._student.modules())

    @ray.method(concurrency_group="control")
    def status(self) -> Status:
        """Answers while `train_epoch` runs."""
        return {
            "done": self._learning.done if self._learning else 0,
            "offered": self._offer["student"]["iterations"] if self._offer else None,
            "lost": self._repairs.lost(),
        }

    @ray.method(concurrency_group="control")
    def pulse(self) -> tuple[int, bool]:
        """See `PartyWorker`; how long the student may wait for the parties is not for it to say."""
        return (self._learning.done if self._learning else 0), False

    @ray.method(concurrency_group="control")
    def offer(self) -> Offer | None:
        """The newest snapshot of the run; nobody else keeps it."""
        offer, self._offer = self._offer, None
        return offer

    @ray.method(concurrency_group="control")
    def mended(self, members: Members, session: int) -> None:
        """A group that was lost is as it was at some time, in a new session."""
        self._repairs.mended(members, session)

    @ray.method(concurrency_group="control")
    def halt(self) -> None:
        """Make `train_epoch` return after the iteration in work; where the student is the critic, after those
        that the parties are at work on."""
        self._halt.set()


StudentActor = ray.remote(concurrency_groups={"control": 1})(StudentWorker)
