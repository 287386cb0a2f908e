"""Teachers and settings small enough for tests."""

import dataclasses

import torch

from fusion.assembly import FusionSettings
from fusion.augmentation import Augmentation
from fusion.generator import GeneratorSettings
from fusion.method import Method
from fusion.networks import ImageSpec, build_network
from fusion.schedule import Schedule
from fusion.seeding import seeded_initialisation
from fusion.teachers import Teacher

CPU = torch.device("cpu")
SPEC = ImageSpec(size=8, channels=1, classes=("a", "b", "c", "d"), mean=(0.3,), std=(0.4,))

SHORT_TABLE = (
    *("student=resnet8-w8", "pretrain.networks=[resnet8-w8]", "pretrain.gold_standard=false"),
    *("pretrain.recipe.epochs=1", "pretrain.recipe.milestones=[1]"),
    *("schedule.warmup_epochs=1", "schedule.epochs=1", "schedule.iterations_per_epoch=2"),
    *("schedule.batch_size=16", "schedule.m_ga=1", "schedule.m_s=1"),
    *("generator.width=16", "generator.latent_dim=8", "tracking.enabled=false"),
)
"""Overrides with which a cell of a paper's table takes a second."""


def teacher(
    index: int = 0, network: str = "resnet8-w8", spec: ImageSpec = SPEC, name: str | None = None
) -> Teacher:
    """A teacher with random weights and BatchNorm statistics that are not those of an untrained network."""
    with seeded_initialisation(100, index):
        built = build_network(network, spec)
        for buffer_name, buffer in built.named_buffers():
            if buffer_name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
            elif buffer_name.endswith("running_mean"):
                buffer.uniform_(-0.2, 0.2)  # Other means leave a last map of zeros, whatever the image.
    return Teacher(name=name or f"party-{index}", network=network, spec=spec, weights=built.state_dict())


def settings(**changes: object) -> FusionSettings:
    """A few iterations of everything."""
    chosen: dict[str, object] = {
        "student": "resnet8-w8",
        "schedule": Schedule(warmup_epochs=1, epochs=2, iterations_per_epoch=2, m_ga=2, m_s=2, batch_size=12),
        "generator": GeneratorSettings(latent_dim=8, width=16),
        "augmentation": Augmentation(),
    }
    return FusionSettings(**(chosen | changes))  # type: ignore[arg-type]


def tiny_run(**changes: object) -> dict[str, object]:
    """A whole run on digits in seconds."""
    return {
        "student": "resnet8-w8",
        "data": {"source": "digits"},
        "pretrain": {
            "networks": ["resnet8-w8"],
            "split": "imbalanced",
            "r": 10,
            "recipe": {"epochs": 3, "milestones": [2], "batch_size": 64, "crop_padding": 0, "flip": 0},
        },
        "schedule": {"warmup_epochs": 1, "epochs": 2, "iterations_per_epoch": 5, "batch_size": 32},
        "generator": {"width": 32, "latent_dim": 32},
        "engine": {"mode": "local"},
        **changes,
    }


def without_warmup(method: Method, **changes: object) -> FusionSettings:
    """`settings` of a method that starts with the main phase."""
    schedule = dataclasses.replace(settings().schedule, warmup_epochs=0)
    return settings(method=method, schedule=schedule, **changes)
