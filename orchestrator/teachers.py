"""The parties' classifiers: read from disk and checked against each other, or pretrained here."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from fusion.audit.canaries import draw_canaries, mislabelled
from fusion.cards import TeacherCard, card_entries
from fusion.data import partitions
from fusion.data.labelled import DataError, LabelledImages
from fusion.data.sources import load
from fusion.label_spaces import LabelSpace
from fusion.networks import ImageSpec
from fusion.teachers import Teacher, TeacherError, load_teacher, save_teacher
from fusion.untrusted import Refused
from orchestrator.config import Pretraining, RunConfig
from orchestrator.engines import Lesson, Weights
from orchestrator.errors import UserError, user_error
from orchestrator.label_spaces import check_classes, images_of, listed
from orchestrator.sources import pinned, read_classifier

GOLD_STANDARD = "gold-standard"
CANARIES = "canaries.json"
Parts: TypeAlias = tuple[LabelledImages, LabelledImages]


def read_data(config: RunConfig) -> Parts | None:
    """Training and test images, if the configuration names any.

    Raises:
        UserError: they cannot be read.
    """
    if config.data is None:
        return None
    try:
        return load(config.data)
    except DataError as error:
        raise UserError(f"data: {error}") from error


def without_teachers(config: RunConfig) -> RunConfig:
    """The same configuration with its teachers to be pretrained.

    Raises:
        UserError: it does not say how.
    """
    if config.pretrain is None or config.data is None:
        raise UserError(
            "pretrain: to train teachers the configuration needs the sections 'pretrain' and 'data'"
        )
    return config.model_copy(update={"teachers": None})


def with_versions(config: RunConfig) -> RunConfig:
    """The same configuration; teachers from a registry are named by their version, so that the run still says
    later which they were.

    Raises:
        UserError: there is no such version.
    """
    if config.teachers is None:
        return config
    named = tuple(
        pinned(source, f"teachers.{index}.", config.tracking.uri)
        for index, source in enumerate(config.teachers)
    )
    return config.model_copy(update={"teachers": named})


def read_teachers(config: RunConfig) -> list[Teacher]:
    """The classifiers that `config.teachers` names, their classes called as its label maps say.

    Raises:
        UserError: one is missing, damaged, or does not fit the others.
    """
    assert config.teachers is not None
    teachers = [
        read_classifier(source, f"teachers.{index}.", config.tracking.uri)
        for index, source in enumerate(config.teachers)
    ]
    check_teachers(teachers)
    return teachers


def check_teachers(teachers: list[Teacher]) -> None:
    """All must take the same images, and have a name and weights of their own."""
    first = teachers[0]
    for index, teacher in enumerate(teachers[1:], start=1):
        where, mine, theirs = f"teachers.{index}", teacher.spec, first.spec
        if mine.size != theirs.size or mine.channels != theirs.channels:
            raise UserError(
                f"{where}: {teacher.name} takes {mine.channels}x{mine.size}x{mine.size} images, "
                f"{first.name} {theirs.channels}x{theirs.size}x{theirs.size}"
            )
        if teacher.name in [other.name for other in teachers[:index]]:
            raise UserError(f"{where}.name: {teacher.name!r} is taken; every party needs a name of its own")
        twin = next((other for other in teachers[:index] if _same_weights(teacher, other)), None)
        if twin is not None:
            raise UserError(f"{where}: {teacher.name} has the same weights as {twin.name}; name each once")


def _same_weights(one: Teacher, other: Teacher) -> bool:
    """Whether they are one classifier, whatever files they came in."""
    mine, theirs = one.weights, other.weights
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def check_data(teachers: Sequence[TeacherCard], space: LabelSpace, test: LabelledImages) -> LabelledImages:
    """The evaluation images, labelled by `space`; they must be what the teachers take.

    Raises:
        UserError: another size, channel count, or other classes.
    """
    spec = teachers[0].spec
    if (test.channels, test.size) != (spec.channels, spec.size):
        raise UserError(
            f"data: images are {test.channels}x{test.size}x{test.size}, but {teachers[0].name} takes "
            f"{spec.channels}x{spec.size}x{spec.size} (data.image_size resizes)"
        )
    return images_of(test, space)


def lessons(config: RunConfig, train: LabelledImages) -> list[Lesson]:
    """What has to be pretrained: each party on its part, then the gold standard on everything.

    Raises:
        UserError: the images cannot be split as asked, or no card could hold what they say of the classes.
    """
    assert config.pretrain is not None
    known = classes_of(config.pretrain, train)
    try:
        parts = split(config.pretrain, train, config.seed)
        canaries = draw_canaries(train.labels.numpy(), parts, config.pretrain.canaries, known, config.seed)
    except ValueError as error:
        raise UserError(f"pretrain: {error}") from error
    mean, std = train.normalisation()
    spec = ImageSpec(size=train.size, channels=train.channels, classes=train.classes, mean=mean, std=std)
    result = []
    for index, (part, own, columns) in enumerate(zip(parts, canaries, known, strict=True)):
        classes = tuple(train.classes[column] for column in columns)
        lesson = Lesson(
            name=f"party-{index}",
            network=config.pretrain.network(index),
            spec=dataclasses.replace(spec, classes=classes),
            train=mislabelled(train, own).subset(part).only(classes),
            canaries=own,
        )
        result.append(lesson)
    for lesson in result:
        try:
            card_entries(lesson.card)
        except Refused as error:
            raise UserError(f"data: {error}") from error
    if config.pretrain.gold_standard:
        classes = check_classes(config, [one.card for one in result]).classes
        everything = dataclasses.replace(spec, classes=classes)
        result.append(
            Lesson(name=GOLD_STANDARD, network=config.student, spec=everything, train=train.only(classes))
        )
    return result


def classes_of(pretrain: Pretraining, train: LabelledImages) -> list[list[int]]:
    """By party the classes that it is trained on, as their labels.

    Raises:
        UserError: there is no such class.
    """
    if pretrain.classes is None:
        return [list(range(len(train.classes)))] * pretrain.parties
    known = []
    for party, own in enumerate(pretrain.classes):
        columns = [train.classes.index(one) if one in train.classes else one for one in own]
        for one in columns:
            if isinstance(one, str) or not 0 <= one < len(train.classes):
                known_ones = f"0 to {len(train.classes) - 1}: {listed(train.classes)}"
                raise user_error(f"pretrain.classes.{party}: the data has no class {one!r} ({known_ones})")
        if len(set(columns)) < len(columns):
            raise user_error(f"pretrain.classes.{party}: a class stands twice, by its name and by its number")
        known.append([int(one) for one in columns])
    return known


def split(pretrain: Pretraining, train: LabelledImages, seed: int) -> list[NDArray[np.int64]]:
    """The parties' parts of the training images, as index arrays."""
    labels = train.labels.numpy()
    known = None
    if pretrain.classes is not None:
        known = np.zeros((len(train.classes), pretrain.parties), dtype=np.bool_)
        for party, own in enumerate(classes_of(pretrain, train)):
            known[own, party] = True
    if pretrain.split == "dirichlet":
        parts = partitions.dirichlet(
            labels, pretrain.parties, concentration=pretrain.concentration, seed=seed, known=known
        )
    else:
        r = pretrain.r if pretrain.split == "imbalanced" else 1.0
        parts = partitions.imbalanced(labels, pretrain.parties, r=r, seed=seed, known=known)
    shares = pretrain.shares or (1.0,) * pretrain.parties
    return [
        partitions.thinned(part, share, seed=seed, party=party)
        for party, (part, share) in enumerate(zip(parts, shares, strict=True))
    ]


def canaries_record(todo: Sequence[Lesson]) -> dict[str, list[dict[str, int]]]:
    """The content of canaries.json: by party the wrongly labelled images."""
    return {one.name: [dataclasses.asdict(canary) for canary in one.canaries] for one in todo if one.canaries}


def write_teacher(lesson: Lesson, weights: Weights, folder: Path) -> Teacher:
    """Write a pretrained classifier and its card to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    teacher = Teacher(name=lesson.name, network=lesson.network, spec=lesson.spec, weights=weights)
    save_teacher(teacher, _file(lesson, folder), training_images=len(lesson.train))
    return teacher


def trained_already(todo: Sequence[Lesson], folder: Path) -> dict[str, Teacher]:
    """Those classifiers that an earlier start of the run has left in `folder`; damaged ones are not."""
    found = {}
    for lesson in todo:
        if _file(lesson, folder).exists():
            with contextlib.suppress(TeacherError):
                found[lesson.name] = load_teacher(_file(lesson, folder))
    return found


def _file(lesson: Lesson, folder: Path) -> Path:
    return folder / f"{lesson.name}.safetensors"
