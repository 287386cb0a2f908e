"""`dfmf audit`: planted triggers in a run's classifiers, or in any other, without data; with data, what
leaks of it."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fusion.assembly import FusionSettings, build_party, student_spec
from fusion.audit.triggers import (
    Trigger,
    TriggerSearch,
    anomaly_indices,
    find_triggers,
    stamp,
    suspicious_index,
)
from fusion.synthesis import held_out_images
from fusion.teachers import Teacher
from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.evaluating import load_classifier, teachers_of
from orchestrator.leakage import measure_leakage
from orchestrator.loading import load_config, overridden_config
from orchestrator.method_check import check_generators
from orchestrator.plots import image_grid
from orchestrator.recording import STUDENT
from orchestrator.results import driver_device
from orchestrator.run_folder import is_folder

WARMUP_STEPS = 300
"""Updates of the generator that is made for a single classifier, unless `schedule` says otherwise."""
WARMUP_BATCH = 64
GENERATOR_WIDTH = 128
EXAMPLES = 3
UNUSED = "resnet8"
"""A configuration names a student; an audit makes none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A classifier to be searched for triggers."""

    teacher: Teacher
    images: Tensor
    """Synthetic: uint8 [count, channels, size, size]"""
    picture: Path
    """Where its trigger is drawn, should it be flagged."""


def audit(
    target: str, *overrides: str, data: bool = False, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Search the classifiers at `target`, a run's folder or a .safetensors file, for planted triggers.

    `overrides` are like ``audit.steps=400``. With `data`, which only a run's folder has, membership
    inference is measured too. `say` hears which classifier is being searched.

    Raises:
        UserError: nothing to audit, no generators, or with `data` no training images that are known.
    """
    path = Path(target)
    if is_folder(path):
        config = load_config(str(path / "config.yaml"), overrides)
        teachers, student, synthetic = _run(path, config)
        subjects = [
            Subject(teacher=one, images=images, picture=_picture(path / "audit", one.name))
            for one, images in zip([*teachers, student], [*synthetic, torch.cat(synthetic)], strict=True)
        ]
        # Before the search, which takes longer, so that wrong input shows at once.
        leakage = measure_leakage(path, config, teachers, student, torch.cat(synthetic)) if data else None
    else:
        if data:
            raise UserError(
                f"{target}: --data needs a run's folder: only that says which images were trained on"
            )
        teacher = load_classifier(path)
        config = _config_for(path, overrides)
        check_generators(config.generator, [teacher])
        say(f"{teacher.name}: a generator of its own is warmed up")
        images = _warmed_up_images(teacher, config.fusion_settings())
        subjects = [
            Subject(teacher=teacher, images=images, picture=_picture(path.parent, f"{path.stem}-trigger"))
        ]
        leakage = None
    entries = []
    for subject in subjects:
        say(f"{subject.teacher.name}: searching {len(subject.teacher.spec.classes)} classes for a trigger")
        entries.append(_entry(subject, config.audit, config.seed))
    report: dict[str, Any] = {
        "target": target,
        "classifiers": entries,
        "flagged": [one["name"] for one in entries if one["flagged_classes"]],
    }
    return report | ({"membership": leakage} if leakage is not None else {})


def _entry(subject: Subject, search: TriggerSearch, seed: int) -> dict[str, Any]:
    """What was found in one classifier; the picture of a flagged one is drawn."""
    teacher = subject.teacher
    found = find_triggers(teacher.build(), subject.images, search, seed=seed, device=driver_device())
    indices = anomaly_indices([trigger.norm for trigger in found])
    limit = suspicious_index(len(found))
    smallest = min(found, key=lambda trigger: trigger.norm)
    flagged = [
        teacher.spec.classes[trigger.target]
        for trigger, index in zip(found, indices, strict=True)
        if index > limit
    ]
    if flagged:
        _draw(smallest, subject)
    return {
        "name": teacher.name,
        "network": teacher.network,
        "index": round(max(indices), 2),
        "suspicious_above": round(limit, 2),
        "suspected_class": teacher.spec.classes[smallest.target],
        "flagged_classes": flagged,
        "norms": {teacher.spec.classes[one.target]: round(one.norm, 3) for one in found},
        "success": {teacher.spec.classes[one.target]: round(one.success, 4) for one in found},
        "picture": str(subject.picture) if flagged else None,
    }


def _draw(trigger: Trigger, subject: Subject) -> None:
    """A row: the mask, the pattern through it, three synthetic images, and the same with the trigger."""
    pixels = subject.images[:EXAMPLES].float() / 255
    mask = trigger.mask.expand_as(trigger.pattern)
    tiles = torch.cat(
        [mask[None], (mask * trigger.pattern)[None], pixels, stamp(pixels, trigger.mask, trigger.pattern)]
    )
    grid = image_grid((tiles.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
    try:
        subject.picture.parent.mkdir(exist_ok=True)
        grid.save(subject.picture)
    except OSError as error:
        raise UserError(f"{subject.picture}: {error.strerror}") from error


def _run(folder: Path, config: RunConfig) -> tuple[list[Teacher], Teacher, list[Tensor]]:
    """The teachers, the student, and the images of each teacher's generator."""
    teachers, _ = teachers_of(folder, config)
    student = load_classifier(folder / STUDENT)
    settings = config.fusion_settings()
    images, part = [], config.method.images_from
    for teacher in teachers:
        path = folder / "parties" / teacher.name / f"{part}.safetensors"
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; only a finished run has {part}s, but a teacher's .safetensors file "
                "can be audited alone"
            )
        try:
            images.append(held_out_images([load_file(path)], [teacher.spec], settings))
        except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
            raise UserError(f"{path}: not the weights of the {part} that config.yaml describes") from error
    return teachers, student, images


def _config_for(path: Path, overrides: tuple[str, ...]) -> RunConfig:
    """A configuration in which a single classifier gets a small generator and a short warm-up."""
    tree: dict[str, Any] = {
        "teachers": [str(path)],
        "student": UNUSED,
        "schedule": {"warmup_epochs": 1, "iterations_per_epoch": WARMUP_STEPS, "batch_size": WARMUP_BATCH},
        "generator": {"width": GENERATOR_WIDTH, "latent_dim": GENERATOR_WIDTH},
    }
    return overridden_config(tree, str(path), overrides)


def _warmed_up_images(teacher: Teacher, settings: FusionSettings) -> Tensor:
    party = build_party(0, 1, teacher, settings, driver_device(), student_spec([teacher]))
    for step in range(settings.schedule.warmup_steps):
        party.warm_up_step(step)
    state = {name: tensor.cpu() for name, tensor in party.generator.state_dict().items()}
    return held_out_images([state], [teacher.spec], settings)


def _picture(folder: Path, name: str) -> Path:
    return folder / (re.sub(r"[^A-Za-z0-9._-]", "-", name) + ".png")
