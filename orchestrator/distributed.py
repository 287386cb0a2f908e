"""The Ray engine: every party and the student an actor, the images through the object store."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.party import PartyActor
from actors.pretraining import PretrainingActor
from actors.process import to_tensors
from actors.student import StudentActor
from actors.student_group import HubActor, train
from fusion.epoch import EpochReport, party_metrics
from fusion.pretraining import Recipe
from fusion.teachers import TeacherCard
from orchestrator.cluster import cluster, placed
from orchestrator.config import EngineSettings
from orchestrator.costs import count, faster_labelling
from orchestrator.engines import WARMUP_EPOCH, Advanced, Fused, Job, Lesson, Observer, Weights
from orchestrator.placement import Plan, Share

POLL_SECONDS = 0.5
HALT_SECONDS = 4.0
ACTORS = {
    "PartyWorker": "a party",
    "PartyActor": "a party",
    "StudentWorker": "the student",
    "StudentActor": "the student",
    "Pretraining": "a pretraining",
}


class ActorLost(RuntimeError):
    """A party or the student failed; what the last epoch left is in the run's folder."""


class RayEngine:
    """Works on the cluster that Ray is connected to, inside the run's placement group."""

    def __init__(self, settings: EngineSettings, plan: Plan, group: PlacementGroup) -> None:
        self._settings = settings
        self._plan = plan
        self._group = group

    def pretrain(
        self, lessons: Sequence[Lesson], recipe: Recipe, seed: int, advanced: Advanced
    ) -> list[Weights]:
        """Side by side, as many at once as there are bundles."""
        shares = self._plan.placed
        total = len(lessons) * recipe.epochs
        trained: list[Weights] = []
        for first in range(0, len(lessons), len(shares)):
            batch = lessons[first : first + len(shares)]
            workers = [
                PretrainingActor.options(**self._options(bundle, share)).remote(
                    share.device, self._settings.threads
                )
                for bundle, share in zip(range(len(batch)), shares, strict=False)
            ]
            calls = [
                worker.train.remote(one.name, one.network, one.spec, one.train, recipe, seed)
                for worker, one in zip(workers, batch, strict=True)
            ]
            while ray.wait(calls, num_returns=len(calls), timeout=POLL_SECONDS)[1]:
                done = sum(_get([worker.done.remote() for worker in workers]))
                advanced("pretraining", first * recipe.epochs + done, total)
            trained += [to_tensors(arrays) for arrays in _get(calls)]
        return trained

    def fuse(self, job: Job, observer: Observer) -> Fused:
        """The parties and the student as actors.

        Raises:
            ActorLost: one of them died or raised.
        """
        threads = self._settings.threads
        groups = {
            group.members: PartyActor.options(**self._options(bundle, group.share)).remote(
                {index: job.teachers[index] for index in group.members},
                len(job.teachers),
                job.settings,
                group.share.device,
                threads,
            )
            for bundle, group in enumerate(self._plan.groups, len(self._plan.placed) - len(self._plan.groups))
        }
        by_parties = self.labelling(job) == "parties"
        teachers = [teacher.card for teacher in job.teachers] if by_parties else list(job.teachers)
        if len(self._plan.students) > 1:
            _warm_up(list(groups.values()), job, observer)
            return self._on_workers(teachers, groups, job, observer)
        share = self._plan.students[0]
        student = StudentActor.options(**self._options(0, share)).remote(
            teachers,
            job.settings,
            groups,
            self._settings.prefetch,
            job.evaluation,
            share.device,
            threads,
        )
        _warm_up(list(groups.values()), job, observer)
        return _main_phase(student, list(groups.values()), job, observer)

    def _on_workers(
        self,
        teachers: Sequence[TeacherCard],
        groups: Mapping[tuple[int, ...], Any],
        job: Job,
        observer: Observer,
    ) -> Fused:
        """The main phase with the student on several workers of Ray Train."""
        workers, share = len(self._plan.students), self._plan.students[0]
        schedule = job.settings.schedule
        hub = HubActor.options(num_cpus=0).remote(
            list(groups.values()), self._settings.prefetch, schedule.iterations, workers
        )
        lesson = {
            "teachers": teachers,
            "settings": job.settings,
            "groups": dict(groups),
            "prefetch": self._settings.prefetch,
            "evaluation": job.evaluation,
            "threads": self._settings.threads,
            "hub": hub,
        }
        running = train.remote(lesson, workers, share.bundle, str(job.folder / "train"), "student")
        state: dict[str, Any] = {}
        finished = False
        try:
            while not finished:
                finished = bool(ray.wait([running], timeout=POLL_SECONDS)[0])
                done, posted = _get(hub.read.remote())
                observer.advanced("fusion", done, schedule.iterations)
                for report, state in posted:
                    observer.epoch(report)
                    observer.student(
                        to_tensors(state["student"]), (report.epoch + 1) * schedule.iterations_per_epoch
                    )
            _get(running)
        except KeyboardInterrupt:
            return Fused(student={}, vids={}, parties=[], iterations=0, interrupted=True)
        observer.advanced("fusion", schedule.iterations, schedule.iterations)
        return _fused(state, list(groups.values()), schedule.iterations)

    def labelling(self, job: Job) -> Literal["student", "parties"]:
        """Where the teachers label: as configured, or where it should be faster."""
        if self._settings.labelling != "auto":
            return self._settings.labelling
        networks = [teacher.network for teacher in job.teachers]
        return faster_labelling(
            count(job.settings, job.teachers[0].spec, networks), self._plan, self._settings
        )

    def _options(self, bundle: int, share: Share) -> dict[str, Any]:
        return {
            "num_cpus": share.cpus,
            "num_gpus": share.gpus,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                self._group, placement_group_bundle_index=bundle
            ),
        }


@contextlib.contextmanager
def ray_engine(settings: EngineSettings, num_parties: int, say: Callable[[str], None]) -> Iterator[RayEngine]:
    """Within the block there is a cluster with what the run needs (see `orchestrator.cluster`)."""
    with cluster(settings), placed(num_parties, settings, say) as (plan, group):
        yield RayEngine(settings, plan, group)


def _warm_up(groups: Sequence[Any], job: Job, observer: Observer) -> None:
    """All groups at once; one call an epoch, so that it can be seen how far they are."""
    names = [teacher.name for teacher in job.teachers]
    schedule = job.settings.schedule
    length = schedule.iterations_per_epoch
    calls = [
        [
            group.warm_up.remote(epoch * length, (epoch + 1) * length)
            for epoch in range(schedule.warmup_epochs)
        ]
        for group in groups
    ]
    pending = [call for of_group in calls for call in of_group]
    total = schedule.warmup_epochs * len(groups)
    while pending:
        finished, pending = ray.wait(pending, num_returns=len(pending), timeout=POLL_SECONDS)
        _get(finished)
        done = schedule.warmup_steps * len(names) * (total - len(pending)) // total
        observer.advanced("warm-up", done, schedule.warmup_steps * len(names))
    last = _get([of_group[-1] for of_group in calls if of_group])
    metrics = [one for of_group in last for one in of_group] or [{} for _ in names]
    samples = [one for of_group in _get([group.sample.remote() for group in groups]) for one in of_group]
    observer.epoch(
        EpochReport(
            epoch=WARMUP_EPOCH,
            metrics=party_metrics(names, metrics),
            accuracy=None,
            samples=dict(zip(names, samples, strict=True)),
        )
    )


def _main_phase(student: Any, groups: Sequence[Any], job: Job, observer: Observer) -> Fused:
    """One epoch is always queued behind the one in work, so the student never waits for the driver."""
    schedule = job.settings.schedule

    def submit(epoch: int) -> tuple[Any, Any]:
        return student.train_epoch.remote(epoch), student.weights.remote()

    queue = [submit(0)]
    try:
        for epoch in range(schedule.epochs):
            if epoch + 1 < schedule.epochs:
                queue.append(submit(epoch + 1))
            report_call, weights_call = queue.pop(0)
            report = _await(
                report_call,
                lambda: observer.advanced("fusion", _get(student.done.remote()), schedule.iterations),
            )
            observer.epoch(report)
            state = _get(weights_call)
            done = (epoch + 1) * schedule.iterations_per_epoch
            observer.advanced("fusion", done, schedule.iterations)
            observer.student(to_tensors(state["student"]), done)
    except KeyboardInterrupt:
        return _halted(student)
    return _fused(state, groups, schedule.iterations)


def _fused(state: Mapping[str, Any], groups: Sequence[Any], iterations: int) -> Fused:
    of_groups = _get([group.weights.remote() for group in groups])
    return Fused(
        student=to_tensors(state["student"]),
        vids=to_tensors(state["vids"]),
        parties=[
            {role: to_tensors(arrays) for role, arrays in roles.items()}
            for of_group in of_groups
            for roles in of_group
        ],
        iterations=iterations,
    )


def _await(call: Any, meanwhile: Callable[[], None]) -> Any:
    while not ray.wait([call], timeout=POLL_SECONDS)[0]:
        meanwhile()
    return _get(call)


def _halted(student: Any) -> Fused:
    """The student as it is after the update in work; nothing if that takes too long (the last epoch's is on
    disk)."""
    with contextlib.suppress(GetTimeoutError):
        ray.get(student.halt.remote(), timeout=HALT_SECONDS)
        state, done = ray.get([student.weights.remote(), student.done.remote()], timeout=HALT_SECONDS)
        return Fused(
            student=to_tensors(state["student"]),
            vids=to_tensors(state["vids"]),
            parties=[],
            iterations=done,
            interrupted=True,
        )
    return Fused(student={}, vids={}, parties=[], iterations=0, interrupted=True)


def _get(calls: Any) -> Any:
    """ray.get, with one error for whatever befalls an actor."""
    try:
        return ray.get(calls)
    except RayError as error:
        raise ActorLost(_describe(error)) from error


def _describe(error: RayError) -> str:
    """Who failed and of what, in one line; the whole story is in the exception's cause."""
    text = str(error)
    who = next((name for kind, name in ACTORS.items() if kind in text), "an actor")
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{who} failed: {type(cause).__name__}: {lines[-1] if lines else ''}"
