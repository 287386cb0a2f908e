"""On which data, with which networks and for how long a table is run."""

from collections.abc import Mapping, Sequence

from orchestrator.config import RunConfig
from orchestrator.errors import user_error
from orchestrator.loading import load_config
from orchestrator.reproducing import published_dfmf as published
from orchestrator.reproducing.layout import Numbers, Part, Scale

ONE_PROCESS = "engine.mode=local"
"""All methods run in one process, and there a small fusion is fastest; the bits are those of Ray."""
ONE_TEACHER = ("pretrain.parties=1", "pretrain.split=balanced")
SMALL: Mapping[Scale, tuple[str, Sequence[str]]] = {
    "digits": ("demo", ()),
    "fashion-mnist": (
        "fashion-mnist",
        ("schedule.epochs=10", "pretrain.recipe.epochs=5", "pretrain.recipe.milestones=[3,4]"),
    ),
    "cifar": (
        "cifar10",
        (
            *("schedule.warmup_epochs=5", "schedule.epochs=20", "schedule.iterations_per_epoch=200"),
            *("pretrain.recipe.epochs=60", "pretrain.recipe.milestones=[24,36]"),
        ),
    ),
}
"""Preset and changes of the scales that are smaller than the paper's."""
DIFFERENT_NETWORKS: Mapping[Scale, Sequence[str]] = {
    "digits": ("pretrain.networks=[resnet8,resnet14]", "student=resnet20"),
    "fashion-mnist": ("pretrain.networks=[resnet8,resnet14]", "student=resnet20"),
    "cifar": ("pretrain.networks=[resnet18,resnet34]", "student=resnet50"),
    "paper": ("data.source=cifar100", "pretrain.networks=[resnet18,resnet34]", "student=resnet50"),
}
DOGS_DIFFER = (
    "the paper starts teachers, assistants and student from ImageNet weights and trains the teachers on "
    "random resized crops; here they start from scratch, on shifted crops"
)
HOW_TO_GET: Mapping[str, str] = {
    "fashion-mnist": "have its four files in data.root (data.root=FOLDER), such as those of Debian's package "
    "dataset-fashion-mnist, or run where there is a network",
    "cifar10": "have torchvision's cifar-10-batches-py in data.root (data.root=FOLDER), or run where "
    "there is a network",
    "cifar100": "have torchvision's cifar-100-python in data.root (data.root=FOLDER), or run where "
    "there is a network",
    "folder": "have Stanford Dogs' images as data.root/train/CLASS/* and data.root/test/CLASS/* "
    "(data.root=FOLDER), from its authors' page",
    "parquet": "name the files with data.train and data.test",
    "digits": "reinstall scikit-learn, which has them",
}
"""By `data.source`."""


def dfmf_parts(table: str, scale: Scale) -> list[Part]:
    """The studies that make up one of DFMF's tables."""
    if table == "dfmf-4":
        return [_of_parties(scale, count) for count in (2, 4)]
    if scale == "paper" and table == "dfmf-2":
        return [
            paper("cifar10", "CIFAR-10", published.TABLE_2_CIFAR10),
            paper("cifar100", "CIFAR-100", published.TABLE_2_CIFAR100, "data.source=cifar100"),
        ]
    sources: Mapping[str, tuple[str, Numbers]] = {
        "dfmf-2": ("CIFAR-10", published.TABLE_2_CIFAR10),
        "dfmf-3": ("CIFAR-100", published.TABLE_3),
        "dfmf-s1": ("CIFAR-10", published.SUPPLEMENT_1),
    }
    source, numbers = sources[table]
    more = DIFFERENT_NETWORKS[scale] if table == "dfmf-3" else ()
    if scale == "paper":
        return [paper("cifar100" if more else "cifar10", source, numbers, *more)]
    return [small(scale, scale, source, numbers, *more)]


def base_of(part: Part, overrides: Sequence[str]) -> RunConfig:
    """The configuration that a part's fusions have in common, with a person's `overrides` last.

    Raises:
        UserError: an override is wrong.
    """
    config = load_config(part.preset, [*part.changes, ONE_PROCESS, *overrides])
    if config.teachers is not None or config.data is None:
        raise user_error("teachers: a table pretrains its own, from 'data'; leave both as they are")
    return config


def _of_parties(scale: Scale, count: int) -> Part:
    name, parties = f"{count}-parties", f"pretrain.parties={count}"
    numbers = {2: published.TABLE_4_TWO, 4: published.TABLE_4_FOUR}[count]
    source = f"Stanford Dogs, K = {count}"
    if scale != "paper":
        return small(name, scale, source, numbers, parties)
    return Part(
        name=name,
        preset="dogs",
        changes=("method.distill_scale=one", parties),
        source=source,
        published=numbers,
        differs=DOGS_DIFFER,
    )


def small(name: str, scale: Scale, source: str, numbers: Numbers, *more: str) -> Part:
    """At a scale that is smaller than the paper's."""
    preset, changes = SMALL[scale]
    return Part(name=name, preset=preset, changes=(*changes, *more), source=source, published=numbers)


def paper(name: str, source: str, numbers: Numbers, *changes: str) -> Part:
    """With the settings of DFMF's paper, but for the `changes`."""
    return Part(name=name, preset="paper", changes=changes, source=source, published=numbers)
