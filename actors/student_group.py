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

from actors.feed import Feed
from actors.learning import Learning
from actors.process import Arrays, to_arrays, use_device
from fusion.assembly import FusionSettings, build_student
from fusion.data.labelled import LabelledImages
from fusion.data_parallel import distribute
from fusion.epoch import EpochReport
from fusion.student import Student
from fusion.teachers import TeacherCard

CHECKPOINT = "student.safetensors"


class Lesson(TypedDict):
    """What every worker is told."""

    teachers: Sequence[TeacherCard]
    settings: FusionSettings
    groups: Mapping[tuple[int, ...], Any]
    prefetch: int
    evaluation: LabelledImages | None
    threads: int
    hub: Any


class Hub:
    """Stands between the parties and the workers: asks for every iteration once, and hands the driver what
    the first worker reports."""

    def __init__(self, groups: Sequence[Any], prefetch: int, iterations: int, workers: int) -> None:
        self._feed = Feed(groups, prefetch, iterations)
        self._workers = workers
        self._taken: dict[int, tuple[int, list[Any]]] = {}
        self._posted: list[tuple[EpochReport, dict[str, Arrays]]] = []
        self._done = 0

    def request(self, iteration: int) -> None:
        """See `Feed`; asking again changes nothing."""
        self._feed.request(iteration)

    def take(self, iteration: int) -> list[Any]:
        """See `Feed`; each worker takes every iteration once."""
        times, calls = self._taken.pop(iteration, (0, None))
        calls = calls if calls is not None else self._feed.take(iteration)
        if times + 1 < self._workers:
            self._taken[iteration] = (times + 1, calls)
        self._done = max(self._done, iteration)
        return calls

    def post(self, report: EpochReport, weights: dict[str, Arrays]) -> None:
        """An epoch is over."""
        self._posted.append((report, weights))

    def read(self) -> tuple[int, list[tuple[EpochReport, dict[str, Arrays]]]]:
        """Iterations that are finished, and what was posted since the last time."""
        posted, self._posted = self._posted, []
        return self._done, posted


HubActor = ray.remote(Hub)


class _Source:
    """The hub as `Learning` sees it."""

    def __init__(self, hub: Any) -> None:
        self._hub = hub

    def request(self, iteration: int) -> None:
        self._hub.request.remote(iteration)

    def take(self, iteration: int) -> list[Any]:
        calls: list[Any] = ray.get(self._hub.take.remote(iteration))
        return calls


def learn(lesson: Lesson) -> None:
    """What each worker of Ray Train runs."""
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = use_device(str(ray.train.torch.get_device()), lesson["threads"])
    student = build_student(lesson["teachers"], lesson["settings"], device)
    distribute(student)
    learning = Learning(
        student,
        lesson["groups"],
        _Source(lesson["hub"]),
        lesson["prefetch"],
        lesson["evaluation"] if rank == 0 else None,
        threading.Event(),
        rank,
        world,
    )
    for epoch in range(lesson["settings"].schedule.epochs):
        report = learning.epoch(epoch)
        assert report is not None
        if rank == 0:
            ray.get(lesson["hub"].post.remote(report, to_arrays(student.modules())))
        _checkpoint(student, epoch, rank)


@ray.remote(num_cpus=0, max_retries=0)
def train(lesson: Lesson, workers: int, resources: dict[str, float], storage: str, name: str) -> None:
    """Ray Train's run; a task of its own, so that the driver can look on. Ends when the student has
    learnt."""
    trainer = ray.train.torch.TorchTrainer(
        learn,
        train_loop_config=lesson,
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=resources.get("GPU", 0) > 0, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=storage,
            # A worker that starts again would find the parties ahead of it.
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=0),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
        ),
    )
    trainer.fit()


def _checkpoint(student: Student, epoch: int, rank: int) -> None:
    """The student with its optimiser's momenta, to Ray Train's storage."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if rank == 0:
            momenta = [
                student.optimiser.state[one]["momentum_buffer"] for one in student.learner.parameters()
            ]
            tensors = {f"learner/{name}": one for name, one in student.learner.state_dict().items()}
            tensors |= {f"momentum/{index}": one for index, one in enumerate(momenta)}
            contiguous = {name: one.detach().cpu().contiguous() for name, one in tensors.items()}
            save_file(contiguous, Path(folder) / CHECKPOINT)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"epoch": epoch}, checkpoint=checkpoint)
