"""The phases of a fusion on Ray, after the actors have been made: warm-up, then the main phase."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError

from actors.process import to_tensors
from actors.student_group import HubActor, Lesson, train
from fusion.epoch import EpochReport, party_metrics
from fusion.teachers import TeacherCard
from orchestrator.config import EngineSettings
from orchestrator.engines import WARMUP_EPOCH, Fused, Job, Observer
from orchestrator.placement import Plan
from orchestrator.waiting import POLL_SECONDS, get, wait_for

HALT_SECONDS = 4.0


def warm_up(groups: Sequence[Any], job: Job, observer: Observer) -> None:
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
        get(finished)
        done = schedule.warmup_steps * len(names) * (total - len(pending)) // total
        observer.advanced("warm-up", done, schedule.warmup_steps * len(names))
    last = get([of_group[-1] for of_group in calls if of_group])
    metrics = [one for of_group in last for one in of_group] or [{} for _ in names]
    samples = [one for of_group in get([group.sample.remote() for group in groups]) for one in of_group]
    observer.epoch(
        EpochReport(
            epoch=WARMUP_EPOCH,
            metrics=party_metrics(names, metrics),
            accuracy=None,
            samples=dict(zip(names, samples, strict=True)),
        )
    )


def main_phase(student: Any, groups: Sequence[Any], job: Job, observer: Observer) -> Fused:
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
            report = wait_for(
                report_call,
                lambda: observer.advanced("fusion", get(student.done.remote()), schedule.iterations),
            )
            observer.epoch(report)
            state = get(weights_call)
            done = (epoch + 1) * schedule.iterations_per_epoch
            observer.advanced("fusion", done, schedule.iterations)
            observer.student(to_tensors(state["student"]), done)
    except KeyboardInterrupt:
        return _halted(student)
    return _fused(state, groups, schedule.iterations)


def on_workers(
    plan: Plan,
    engine: EngineSettings,
    teachers: Sequence[TeacherCard],
    groups: Mapping[tuple[int, ...], Any],
    job: Job,
    observer: Observer,
) -> Fused:
    """The main phase with the student on several workers of Ray Train."""
    workers, share = len(plan.students), plan.students[0]
    schedule = job.settings.schedule
    hub = HubActor.options(num_cpus=0).remote(
        list(groups.values()), engine.prefetch, schedule.iterations, workers
    )
    lesson: Lesson = {
        "teachers": teachers,
        "settings": job.settings,
        "groups": dict(groups),
        "prefetch": engine.prefetch,
        "evaluation": job.evaluation,
        "threads": engine.threads,
        "hub": hub,
    }
    running = train.remote(lesson, workers, share.bundle, str(job.folder / "train"), "student")
    state: dict[str, Any] = {}
    finished = False
    try:
        while not finished:
            finished = bool(ray.wait([running], timeout=POLL_SECONDS)[0])
            done, posted = get(hub.read.remote())
            observer.advanced("fusion", done, schedule.iterations)
            for report, state in posted:
                observer.epoch(report)
                observer.student(
                    to_tensors(state["student"]), (report.epoch + 1) * schedule.iterations_per_epoch
                )
        get(running)
    except KeyboardInterrupt:
        return Fused(student={}, vids={}, parties=[], iterations=0, interrupted=True)
    observer.advanced("fusion", schedule.iterations, schedule.iterations)
    return _fused(state, list(groups.values()), schedule.iterations)


def _fused(state: Mapping[str, Any], groups: Sequence[Any], iterations: int) -> Fused:
    of_groups = get([group.weights.remote() for group in groups])
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
