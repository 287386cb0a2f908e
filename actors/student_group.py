"""The student on several workers: Ray Train starts them, every one learns from its share of each batch."""

import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import ray
import ray.train
import ray.train.torch
from safetensors.torch import save_file

from actors.feed import Calls, Feed, Members
from actors.interval import Interval
from actors.learning import Learning
from actors.process import Arrays, to_arrays, to_tensors, use_device
from actors.student import Lesson, Offer, StudentState, student_state
from fusion.assembly import build_student
from fusion.data.labelled import LabelledImages
from fusion.data_parallel import distribute
from fusion.epoch import EpochReport
from fusion.health import Diverged
from fusion.student import Student
from fusion.teachers import TeacherCard

CHECKPOINT = "student.safetensors"


class GroupLesson(TypedDict):
    """What every worker is told."""

    teachers: Sequence[TeacherCard]
    groups: Mapping[Members, Any]
    prefetch: int
    evaluation: LabelledImages | None
    threads: int
    lesson: Lesson
    hub: Any


class Posted(TypedDict):
    """What the first worker has said since the last time."""

    done: int
    epochs: list[tuple[EpochReport, dict[str, Arrays]]]
    offer: Offer | None
    diverged: Diverged | None
    final: tuple[StudentState, dict[str, Arrays]] | None
    """The student when it has learnt everything, and its weights."""


class Hub:
    """Stands between the parties and the workers: asks for every iteration once, and hands the driver what
    the first worker reports. A party that is lost ends the workers' run: they begin again together."""

    def __init__(
        self, groups: Mapping[Members, Any], prefetch: int, workers: int, lesson: Lesson, first: int
    ) -> None:
        schedule = lesson["settings"].schedule
        self._feed = Feed(
            groups,
            lesson["sessions"],
            prefetch,
            first,
            schedule.iterations,
            Interval(*lesson["every"]),
            lesson["settings"].method.lag,
        )
        self._workers = workers
        self._arrived: dict[int, int] = {}
        self._posted: Posted = {"done": first, "epochs": [], "offer": None, "diverged": None, "final": None}

    def request(self, iteration: int) -> None:
        """See `Source`; asking again changes nothing."""
        self._feed.request(iteration)

    def learnt(self, done: int, student: Arrays) -> None:
        """See `Source`; all workers say the same."""
        self._feed.learnt(done, student)

    def calls(self, iteration: int) -> Calls:
        """See `Source`."""
        return self._feed.calls(iteration)

    def taken(self, iteration: int) -> None:
        """One more worker has `iteration`."""
        self._arrived[iteration] = self._arrived.get(iteration, 0) + 1
        if self._arrived[iteration] == self._workers:
            del self._arrived[iteration]
            self._feed.taken(iteration)

    def snapshot_due(self, done: int) -> bool:
        """Whether the parties' states before iteration `done` were asked for; says how far the workers
        are."""
        self._posted["done"] = done
        return done in self._feed.snapshots

    def offer(self, student: StudentState) -> None:
        """The student's part of a snapshot."""
        self._posted["offer"] = {
            "student": student,
            "parties": self._feed.snapshots.pop(student["iterations"]),
        }

    def post(self, report: EpochReport, weights: dict[str, Arrays]) -> None:
        """An epoch is over."""
        self._posted["epochs"].append((report, weights))

    def finish(self, state: StudentState, weights: dict[str, Arrays]) -> None:
        """The student has learnt everything."""
        self._posted["final"] = state, weights

    def diverged(self, error: Diverged) -> None:
        """The numbers are no good."""
        self._posted["diverged"] = error

    def pulse(self) -> tuple[int, bool]:
        """See `PartyWorker`; it has no work of its own."""
        return 0, False

    def read(self) -> Posted:
        """What there is that was not read yet."""
        posted, self._posted = self._posted, {**self._posted, "epochs": [], "offer": None}
        return posted


HubActor = ray.remote(Hub)


class _Source:
    """The hub as `Learning` sees it."""

    def __init__(self, hub: Any, sessions: Mapping[Members, int]) -> None:
        self._hub = hub
        self._sessions = sessions
        self._calls: dict[int, Calls] = {}

    def request(self, iteration: int) -> None:
        self._hub.request.remote(iteration)

    def learnt(self, done: int, student: Arrays) -> None:
        self._hub.learnt.remote(done, student)  # Each worker: its own requests then come after it.

    def calls(self, iteration: int) -> Calls:
        if iteration not in self._calls:
            self._calls[iteration] = ray.get(self._hub.calls.remote(iteration))
        return self._calls[iteration]

    def taken(self, iteration: int) -> None:
        del self._calls[iteration]
        self._hub.taken.remote(iteration)

    def session(self, members: Members) -> int:
        return self._sessions[members]

    def lost(self, _members: Members, error: Exception) -> None:
        raise error


def learn(task: GroupLesson) -> None:
    """What each worker of Ray Train runs."""
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = use_device(str(ray.train.torch.get_device()), task["threads"])
    lesson, hub = task["lesson"], task["hub"]
    state, schedule = lesson["state"], lesson["settings"].schedule
    student = build_student(task["teachers"], lesson["settings"], device)
    if state is not None:
        student.restore(to_tensors(state["state"]))
    distribute(student)
    learning = Learning(
        student,
        task["groups"],
        _Source(hub, lesson["sessions"]),
        task["prefetch"],
        task["evaluation"] if rank == 0 else None,
        lesson["limits"],
        threading.Event(),
        state["iterations"] if state else 0,
        state["records"] if state else (),
        rank,
        world,
    )
    while learning.done < schedule.iterations:
        learning.ask()
        if rank == 0 and ray.get(hub.snapshot_due.remote(learning.done)):
            ray.get(hub.offer.remote(student_state(student, learning)))
        try:
            learning.iteration()
            report = learning.report() if learning.done % schedule.iterations_per_epoch == 0 else None
        except Diverged as error:
            ray.get(hub.diverged.remote(error))
            raise
        if report is not None:
            if rank == 0:
                ray.get(hub.post.remote(report, to_arrays(student.modules())))
            _checkpoint(student, learning, rank)
    if rank == 0:
        ray.get(hub.finish.remote(student_state(student, learning), to_arrays(student.modules())))


@ray.remote(num_cpus=0, max_retries=0)
def train(task: GroupLesson, workers: int, resources: dict[str, float], storage: str, name: str) -> None:
    """Ray Train's run; a task of its own, so that the driver can look on. Ends when the student has
    learnt."""
    trainer = ray.train.torch.TorchTrainer(
        learn,
        train_loop_config=task,
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=resources.get("GPU", 0) > 0, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=storage,
            # A worker that starts again would find the parties ahead of it; the driver restores them all.
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=0),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
        ),
    )
    trainer.fit()


def _checkpoint(student: Student, learning: Learning, rank: int) -> None:
    """The student's part of a snapshot, to Ray Train's storage."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if rank == 0:
            save_file(student.state(), Path(folder) / CHECKPOINT)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"iterations": learning.done}, checkpoint=checkpoint)
