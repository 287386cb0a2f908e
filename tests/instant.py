"""An engine that trains nothing: a whole run in a second, to see what happens around the training."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from fusion.assembly import build_party, build_student, student_spec
from orchestrator import fuse
from orchestrator.config import RunConfig
from orchestrator.engines import Course, Fused, Hardware, Job, Observer
from orchestrator.run_parts import FusionResult
from orchestrator.snapshot import Snapshot
from orchestrator.surroundings import alone
from tests.tiny import teacher, tiny_run


class Instant:
    """Keeps one checkpoint, of the end; `then` is called after it and may raise."""

    def __init__(self, then: Callable[[Job], None]) -> None:
        self._then = then

    @property
    def hardware(self) -> Hardware:
        """See `Engine`."""
        return Hardware(parties="none", lessons="none")

    def pretrain(self, course: Course) -> None:
        """See `Engine`."""
        for index, lesson in enumerate(course.lessons):
            course.taught(lesson, teacher(index, lesson.network, lesson.spec).weights)

    def fuse(self, job: Job, observer: Observer) -> Fused:
        """See `Engine`."""
        spec, device = student_spec(job.teachers, job.settings.classes), torch.device("cpu")
        parties = [
            build_party(index, len(job.teachers), one, job.settings, device, spec)
            for index, one in enumerate(job.teachers)
        ]
        student, iterations = build_student(job.teachers, job.settings, device), 10
        observer.advanced("fusion", iterations, iterations)
        job.keeper.keep(Snapshot(iterations=iterations, student=student.state()), job.names)
        job.keeper.flush()
        self._then(job)
        return Fused(
            student=student.classifier.network.state_dict(),
            vids={},
            parties=[{role: one.state_dict() for role, one in party.modules().items()} for party in parties],
            iterations=iterations,
        )


def go_on(_job: Job) -> None:
    """Nothing happens."""


def stop(_job: Job) -> None:
    """Somebody presses Ctrl-C."""
    raise KeyboardInterrupt


def instantly(
    run: Any,
    *overrides: str,
    then: Callable[[Job], None] = go_on,
    resume: Path | str | None = None,
    console: Console | None = None,
) -> FusionResult:
    """`fuse` with that engine."""

    @contextlib.contextmanager
    def engine(config: RunConfig, say: Callable[[str], None]) -> Iterator[Instant]:
        yield Instant(then)

    around = dataclasses.replace(alone(), engine=engine)
    console = console or Console(quiet=True)
    return fuse(run, *overrides, resume=resume, console=console, surroundings=around)


def small_run(folder: Path, **changes: object) -> dict[str, object]:
    """A configuration of a run `one` in `folder`, without MLflow."""
    return tiny_run(**{"output": str(folder), "name": "one", "tracking": {"enabled": False}, **changes})
