"""What both engines take and give."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from torch import Tensor

from fusion.assembly import FusionSettings
from fusion.audit.canaries import Canary
from fusion.data.labelled import LabelledImages
from fusion.epoch import EpochReport
from fusion.health import Limits
from fusion.networks import ImageSpec
from fusion.pretraining import Recipe
from fusion.teachers import Teacher, TeacherCard
from orchestrator.keeper import Keeper
from orchestrator.snapshot import FRESH, Snapshot
from orchestrator.stopping import Stopping

WARMUP_EPOCH = -1
"""The epoch under which the end of the warm-up is reported."""

Weights: TypeAlias = Mapping[str, Tensor]
Advanced: TypeAlias = Callable[[str, int, int], None]
"""Hears a phase, how much of it is done, and how much there is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lesson:
    """A classifier to be pretrained on labelled images."""

    name: str
    network: str
    spec: ImageSpec
    train: LabelledImages
    canaries: Sequence[Canary] = ()
    """Those of its images that have a wrong label on purpose."""

    @property
    def card(self) -> TeacherCard:
        """What the classifier will be."""
        return TeacherCard(name=self.name, network=self.network, spec=self.spec)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Course:
    """Classifiers to be pretrained, and who hears of it."""

    lessons: Sequence[Lesson]
    recipe: Recipe
    seed: int
    taught: Callable[[Lesson, Weights], None]
    """Hears of each classifier as soon as it is trained."""
    advanced: Advanced
    said: Callable[[str], None]

    @property
    def epochs(self) -> int:
        """Of all of them."""
        return len(self.lessons) * self.recipe.epochs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A fusion to be run."""

    teachers: Sequence[Teacher]
    settings: FusionSettings
    evaluation: LabelledImages | None
    folder: Path = Path("runs")
    """Where Ray Train keeps its own; a path that all nodes see, if the student has workers on several."""
    start: Snapshot = FRESH
    """What to go on from."""
    keeper: Keeper = dataclasses.field(default_factory=Keeper)
    """Takes the snapshots."""
    limits: Limits = Limits()
    """What the run's numbers must keep to."""
    stopping: Stopping = dataclasses.field(default_factory=Stopping)
    """Says when to stop."""

    @property
    def names(self) -> list[str]:
        """The parties'."""
        return [teacher.name for teacher in self.teachers]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fused:
    """What a fusion leaves."""

    student: Weights
    vids: Weights
    parties: list[dict[str, Weights]]
    """For each party the state of its generator, assistant and VID part."""
    iterations: int
    """Iterations of the main phase that went into the student."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hardware:
    """What an engine computes on, by name, as far as this process can know it."""

    parties: str
    lessons: str


class Observer(Protocol):
    """Hears how a fusion goes on."""

    def said(self, line: str) -> None:
        """Something a person should know."""

    def advanced(self, phase: str, done: int, total: int) -> None:
        """So much of a phase is done."""

    def epoch(self, report: EpochReport) -> None:
        """An epoch, or the warm-up, is over."""

    def student(self, weights: Weights, iterations: int) -> None:
        """The student as it is after an epoch."""


class Engine(Protocol):
    """Where pretraining and fusion run."""

    @property
    def hardware(self) -> Hardware:
        """What decides the last bits of what it computes."""

    def pretrain(self, course: Course) -> None:
        """Train each lesson's classifier."""

    def fuse(self, job: Job, observer: Observer) -> Fused:
        """Run a fusion, from `job.start` on.

        Raises:
            Diverged: its numbers are no good (`fusion.health`).
        """
