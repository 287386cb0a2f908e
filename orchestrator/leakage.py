"""Membership inference on a finished run: its teachers, its student, and its synthetic images."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusion.audit.canaries import Canary
from fusion.audit.membership import Attack, Indices, Scores, attack, loss_scores, matched, nearness_scores
from fusion.data.labelled import LabelledImages
from fusion.teachers import Teacher
from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.results import driver_device
from orchestrator.teachers import CANARIES, check_data, read_data, split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Images that were trained on and images that were not, with the labels that are tried on both."""

    members: LabelledImages
    others: LabelledImages


def measure_leakage(
    folder: Path, config: RunConfig, teachers: Sequence[Teacher], student: Teacher, synthetic: Tensor
) -> dict[str, Any]:
    """How well training images are told from the data set's test images of the same classes.

    By the loss of each teacher on its own images, by the student's loss on everybody's, and by the distance
    to the nearest synthetic image. Canaries, if the run has any, are held against test images with the same
    wrong labels.

    Raises:
        UserError: the run did not train its teachers, or its data or canaries are not those that it trained
        on.
    """
    if config.teachers is not None or config.pretrain is None:
        raise UserError(
            f"{folder}: --data: the run did not train its teachers, so it is not known which images they saw"
        )
    data = read_data(config)
    assert data is not None
    train, test = data
    check_data(teachers, config.fusion_settings().space(teachers), test)
    parts = split(config.pretrain, train, config.seed)
    canaries = _read_canaries(folder / CANARIES, teachers, parts, len(train.classes))
    random = np.random.default_rng([config.seed, 3])
    device = driver_device()

    def measured(model: Teacher | None, part: Indices, own: Sequence[Canary]) -> dict[str, Any]:
        classifier = model.build().to(device) if model is not None else None

        def scores(images: LabelledImages) -> Scores:
            if model is None or classifier is None:
                return nearness_scores(images.images, synthetic)
            labelled = images.only(model.spec.classes)  # Its own classes, in its order.
            return loss_scores(classifier, labelled.images, labelled.labels, device)

        def attacked(group: Group) -> dict[str, Any]:
            return _rounded(attack(scores(group.members), scores(group.others), random))

        plain = np.setdiff1d(part, [canary.index for canary in own])
        return {
            "members": attacked(_members(train, test, plain, random)),
            "canaries": attacked(_canaries(train, test, own, random)) if own else None,
        }

    everything, all_canaries = np.concatenate(parts), [canary for own in canaries for canary in own]
    return {
        "teachers": [
            {"name": teacher.name, **measured(teacher, part, own)}
            for teacher, part, own in zip(teachers, parts, canaries, strict=True)
        ],
        "student": measured(student, everything, all_canaries),
        "nearest_synthetic": measured(None, everything, all_canaries),
        "synthetic_images": len(synthetic),
    }


def _members(
    train: LabelledImages, test: LabelledImages, part: Indices, random: np.random.Generator
) -> Group:
    inside, outside = _matched(train, test, part, random)
    return Group(members=train.subset(part[inside]), others=test.subset(outside))


def _matched(
    train: LabelledImages, test: LabelledImages, part: Indices, random: np.random.Generator
) -> tuple[Indices, Indices]:
    inside, outside = matched(train.labels.numpy()[part], test.labels.numpy(), random)
    if len(outside) == 0:
        raise UserError(
            "data: no test image has a class of the training images that it is to be compared with"
        )
    return inside, outside


def _canaries(
    train: LabelledImages, test: LabelledImages, own: Sequence[Canary], random: np.random.Generator
) -> Group:
    """Each canary's partners have its class and are tried with its wrong label."""
    where = np.array([canary.index for canary in own])
    inside, outside = _matched(train, test, where, random)
    wrong = torch.tensor([own[position].label for position in inside])
    return Group(
        members=dataclasses.replace(train.subset(where[inside]), labels=wrong),
        others=dataclasses.replace(
            test.subset(outside), labels=wrong.repeat_interleave(len(outside) // len(inside))
        ),
    )


def _read_canaries(
    path: Path, teachers: Sequence[Teacher], parts: Sequence[Indices], num_classes: int
) -> list[list[Canary]]:
    """By party; none where the run made none."""
    if not path.exists():
        return [[] for _ in teachers]
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        canaries = [
            [Canary(int(one["index"]), int(one["label"])) for one in record[party.name]] for party in teachers
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no record of canaries that names every party") from error
    for teacher, part, own in zip(teachers, parts, canaries, strict=True):
        if not np.isin([one.index for one in own], part).all() or not all(
            0 <= one.label < num_classes for one in own
        ):
            raise UserError(f"{path}: {teacher.name}: not images of this party; is 'data' that of the run?")
    return canaries


def _rounded(found: Attack) -> dict[str, Any]:
    return {
        "members": found.members,
        "others": found.others,
        "auc": round(found.auc, 4),
        "interval": [round(one, 4) for one in found.interval],
        "tpr": {rate: None if value is None else round(value, 4) for rate, value in found.tpr.items()},
    }
