"""On which data, with which networks and for how long a table is run."""

import dataclasses
from collections.abc import Mapping, Sequence

from orchestrator.config import RunConfig
from orchestrator.errors import user_error
from orchestrator.loading import load_config
from orchestrator.reproducing import published_dfmf as published
from orchestrator.reproducing.layout import Numbers, Part, Scale
from orchestrator.sweep.space import Parameters

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
CMI: Parameters = {
    "schedule.iterations_per_epoch": 40,
    "optimisation.student_lr": 0.1,
    "optimisation.weight_decay": 1e-4,
    "generator.latent_dim": 256,
    "generator.output": "sigmoid",
    "method.tau": 20.0,
    "method.distill_scale": "tau_squared",
    "method.adv_tau": 1.0,
    "method.label_weight": 1.0,
    "method.contrast_temperature": 0.2,
    "method.embedding_dim": 256,
}
"""Section 4.1: 400 updates of the student and 200 of the assistants an epoch, with 10 and 5 in an iteration,
and the hyperparameters of FastDFKD's repository, its reference 6 (scripts/cmi_cifar.sh)."""
ALL_IMAGES: Parameters = {"method.bank_images": 200 * 256}
"""Of 200 batches, one an epoch."""
CMI_DIFFERS = (
    "CMI has in the paper the repository's generator, the features of all BatchNorm layers, and plain "
    "momentum; here it is DFMF's generator, the features of the last layer, and Nesterov's. At which rate "
    "CMI's assistants learn the paper does not say; here it is 0.05, DFMF's"
)
TABLE_2_DIFFERS = (
    "ZSKT has the same N_warm-up in the paper, which does not say what its generators minimise there; here "
    f"it has none, for it has no loss without a critic. {CMI_DIFFERS}"
)
DOGS_DIFFER = (
    "the paper starts teachers, assistants and student from ImageNet weights and trains the teachers on "
    "random resized crops; here they start from scratch, on shifted crops. The paper's generator has three "
    f"upsamplings for all data; here it has five for 224 pixels. {CMI_DIFFERS}. The repository keeps all of "
    "CMI's images; here they are the newest 10,240"
)
CMI_NOTE = (
    "CMI and CMI (w/GA) have an M of 40, and rates, weights and temperatures of their own "
    "(docs/methods/cmi.md), where no override names another"
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
HOW_TO_GET_SOURCES = (
    "they are any images of yours, in a folder or in a Parquet file with a column of encoded images; the "
    "paper's (SVHN, Tiny ImageNet, CLEVR, Mid-Air) are on their authors' pages"
)


def dfmf_parts(table: str, scale: Scale) -> list[Part]:
    """The studies that make up one of DFMF's tables."""
    if table == "dfmf-4":
        return [_of_parties(scale, count) for count in (2, 4)]
    if scale == "paper" and table == "dfmf-2":
        return [
            _of_all_methods(paper("cifar10", "CIFAR-10", published.TABLE_2_CIFAR10)),
            _of_all_methods(
                paper("cifar100", "CIFAR-100", published.TABLE_2_CIFAR100, "data.source=cifar100")
            ),
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


def _of_all_methods(part: Part) -> Part:
    rows = {key: {**CMI, **ALL_IMAGES} for key in ("cmi", "cmi_ga")}
    return dataclasses.replace(part, rows=rows, differs=TABLE_2_DIFFERS, note=CMI_NOTE)


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
        rows={"cmi_ga": CMI},
        differs=DOGS_DIFFER,
        note=CMI_NOTE,
    )


def small(name: str, scale: Scale, source: str, numbers: Numbers, *more: str) -> Part:
    """At a scale that is smaller than the paper's."""
    preset, changes = SMALL[scale]
    return Part(name=name, preset=preset, changes=(*changes, *more), source=source, published=numbers)


def paper(name: str, source: str, numbers: Numbers, *changes: str) -> Part:
    """With the settings of DFMF's paper, but for the `changes`."""
    return Part(name=name, preset="paper", changes=changes, source=source, published=numbers)
