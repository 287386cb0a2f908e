"""Parties and the student, put together from the teachers and the settings: the same in one process and in
actors."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import torch

from fusion.augmentation import Augmentation
from fusion.compute import Compute
from fusion.generator import GeneratorSettings
from fusion.label_spaces import LabelSpace, label_space
from fusion.methods import Dfmf, Method
from fusion.networks import Classifier, ImageSpec, build_classifier, build_network
from fusion.party import Party
from fusion.schedule import Optimisation, Schedule
from fusion.seeding import derive_seed, seeded_initialisation
from fusion.student import Student
from fusion.synthesiser import Means
from fusion.synthesisers import build_synthesiser
from fusion.teachers import Teacher, TeacherCard
from fusion.vid import Vid


@dataclasses.dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """Everything besides the teachers that decides a fusion's result."""

    student: str
    """The student's network."""
    assistant: Literal["teacher", "student"] = "teacher"
    """Whose architecture the assistants have (the paper's Table 3), of a method with assistants."""
    weights: tuple[float, ...] | Literal["uniform", "confidence"] = "uniform"
    """w_k in Eq. (1), made to sum to one; or 'uniform'; or 'confidence': equal, but for each sample moved
    towards the teachers that are sure of it."""
    classes: tuple[str, ...] | None = None
    """The student's classes in order; None: the teachers', in the order of their first appearance."""
    seed: int = 0
    rewinds: int = 0
    """How often the run went back because its numbers were no good: another noise, smaller learning rates."""
    method: Method = Dfmf()
    schedule: Schedule = Schedule()
    optimisation: Optimisation = Optimisation()
    generator: GeneratorSettings = GeneratorSettings()
    augmentation: Augmentation = Augmentation()
    compute: Compute = Compute()

    def noise_seed(self) -> int:
        """Of the noise that the generators get."""
        return derive_seed(self.seed, "rewind", self.rewinds) if self.rewinds else self.seed

    @property
    def taming(self) -> float:
        """What learning rates are multiplied with: a half for every rewind."""
        return 0.5**self.rewinds

    def tamed_optimisation(self) -> Optimisation:
        """`optimisation` with learning rates halved for every rewind."""
        factor = self.taming
        return dataclasses.replace(
            self.optimisation,
            student_lr=self.optimisation.student_lr * factor,
            assistant_lr=self.optimisation.assistant_lr * factor,
            generator_lr=self.optimisation.generator_lr * factor,
        )

    @property
    def confident(self) -> bool:
        """Whether the weights are those of each sample."""
        return self.weights == "confidence"

    def space(self, teachers: Sequence[TeacherCard]) -> LabelSpace:
        """All classes that these teachers know.

        Raises:
            ValueError: `classes` are others.
        """
        return label_space([teacher.spec.classes for teacher in teachers], self.classes)

    def teacher_weights(self, num_parties: int) -> list[float]:
        """w_k, summing to one.

        Raises:
            ValueError: not one weight a party, none above zero, or one that is no finite number.
        """
        weights = (1.0,) * num_parties if isinstance(self.weights, str) else self.weights
        if len(weights) != num_parties:
            raise ValueError(f"{len(weights)} weights for {num_parties} teachers")
        if min(weights) < 0 or sum(weights) <= 0 or not math.isfinite(sum(weights)):
            raise ValueError("weights must be finite, at least 0, and one of them above 0")
        return [weight / sum(weights) for weight in weights]


def build_party(
    index: int,
    num_parties: int,
    teacher: Teacher,
    settings: FusionSettings,
    device: torch.device,
    student: ImageSpec | None = None,
) -> Party:
    """Line 1 of Algorithm 1 for party `index`: its teacher, and freshly initialised what the method has it
    train. `student` is what the student takes and knows (`student_spec`), where the student is the critic."""
    frozen_teacher = teacher.build()
    critic: Classifier | None = None
    vid: Vid | None = None
    known = teacher.spec.classes
    if settings.method.critic == "student":
        assert student is not None
        known = student.classes
    means = Means(
        generator=settings.generator,
        batch_size=settings.method.images_at_once(settings.schedule.batch_size),
        num_parties=num_parties,
        optimisation=settings.tamed_optimisation(),
        taming=settings.taming,
        compute=settings.compute,
        device=device,
    )
    with seeded_initialisation(settings.seed, "party", index):
        synthesiser = build_synthesiser(settings.method, teacher.spec, frozen_teacher, known, means)
        if settings.method.critic == "assistant":
            network = teacher.network if settings.assistant == "teacher" else settings.student
            critic = build_classifier(network, teacher.spec)
            vid = Vid(critic.network.feature_channels, frozen_teacher.network.feature_channels)
    if settings.method.critic == "student":
        assert student is not None
        with seeded_initialisation(settings.seed, "student"):
            critic = build_classifier(settings.student, student)
    return Party(
        index=index,
        share=settings.schedule.share(num_parties),
        teacher=frozen_teacher,
        critic=critic,
        columns=[known.index(name) for name in teacher.spec.classes],
        vid=vid,
        synthesiser=synthesiser,
        method=settings.method,
        schedule=settings.schedule,
        optimisation=settings.tamed_optimisation(),
        compute=settings.compute,
        seed=settings.noise_seed(),
        device=device,
    )


def build_student(teachers: Sequence[TeacherCard], settings: FusionSettings, device: torch.device) -> Student:
    """The freshly initialised student of these teachers.

    Teachers that come with their weights label the student's images; of cards alone, somebody else must.
    """
    with torch.device("meta"):
        maps = [build_network(one.network, one.spec).feature_channels for one in teachers]
    with seeded_initialisation(settings.seed, "student"):
        classifier = build_classifier(settings.student, student_spec(teachers, settings.classes))
        vids = [Vid(classifier.network.feature_channels, channels) for channels in maps]
    return Student(
        classifier=classifier,
        teachers=[teacher.build() for teacher in teachers if isinstance(teacher, Teacher)],
        names=[teacher.name for teacher in teachers],
        weights=settings.teacher_weights(len(teachers)),
        confident=settings.confident,
        space=settings.space(teachers),
        vids=vids,
        method=settings.method,
        schedule=settings.schedule,
        optimisation=settings.tamed_optimisation(),
        augmentation=settings.augmentation,
        compute=settings.compute,
        seed=settings.seed,
        device=device,
    )


def student_spec(teachers: Sequence[TeacherCard], classes: Sequence[str] | None = None) -> ImageSpec:
    """The student takes what the teachers take, and knows all their classes (`classes` is their order); its
    normalisation is the mean of theirs."""
    return dataclasses.replace(
        teachers[0].spec,
        classes=label_space([teacher.spec.classes for teacher in teachers], classes).classes,
        mean=_columns_mean([teacher.spec.mean for teacher in teachers]),
        std=_columns_mean([teacher.spec.std for teacher in teachers]),
    )


def _columns_mean(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(sum(column) / len(column) for column in zip(*rows, strict=True))
