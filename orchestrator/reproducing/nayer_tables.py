"""NAYER's supplement, Tables 6 and 8: one teacher, plain distillation, a bank of images that are inverted."""

import dataclasses
from collections.abc import Mapping, Sequence

from fusion.methods import Nayer
from fusion.noisy import EmbeddingsError, read_embeddings
from orchestrator.config import RunConfig
from orchestrator.reproducing import published_nayer as published
from orchestrator.reproducing.layout import Line, Numbers, Part, Scale, Table, fixed
from orchestrator.reproducing.scales import ONE_TEACHER, paper, small

PLAIN = ("method={name: nayer, beta: 0}", "schedule.warmup_epochs=0")
"""The student's loss is distillation alone."""
PAPER = (
    *("pretrain.networks=[wrn-40-2]", "student=wrn-16-2", "pretrain.recipe.batch_size=128"),
    *("schedule.epochs=300", "schedule.iterations_per_epoch=40", "schedule.batch_size=512"),
    *("optimisation.student_lr=0.1", "optimisation.generator_lr=0.004"),
    *("generator.layout=nayer", "generator.latent_dim=1000", "method.inversion_batch=400"),
    f"method.bank_images={300 * 2 * 400}",
)
"""The supplement's Section A, its Table 1 and its Table 3: 400 student updates and two batches of images an
epoch, all of which are kept."""
DIFFERS = (
    "the paper has teachers with a cosine learning rate and 20 epochs that make images before the student "
    "learns, and FM has NAYER's generator with one more linear layer; here it is steps in the learning rate, "
    "no such epochs, and no such layer"
)
OTHERS: Mapping[str, int] = {"cifar10": 100, "cifar100": 10}
"""By part: how many classes the other one has."""


def _parts_of_6(scale: Scale) -> list[Part]:
    return [_part(scale, "cifar100", "CIFAR-100", published.TABLE_6, "method.inversion_steps=40")]


def _parts_of_8(scale: Scale) -> list[Part]:
    cifar10 = _part(scale, "cifar10", "CIFAR-10", published.TABLE_8_CIFAR10)
    if scale != "paper":
        return [cifar10]
    cifar100 = _part(scale, "cifar100", "CIFAR-100", published.TABLE_8_CIFAR100, "method.inversion_steps=40")
    return [cifar10, cifar100]


def _part(scale: Scale, data: str, source: str, numbers: Numbers, *more: str) -> Part:
    if scale != "paper":
        return small(scale, scale, source, numbers, *ONE_TEACHER, *PLAIN)
    changes = (f"data.source={data}", *ONE_TEACHER, *PLAIN, *PAPER, *more)
    return dataclasses.replace(paper(data, source, numbers, *changes), differs=DIFFERS)


def _equally_often(config: RunConfig) -> Sequence[Line]:
    """Both make as many batches of as many images, and keep as many."""
    method = config.method if isinstance(config.method, Nayer) else Nayer()
    alike = {
        "method.inversion_every": method.inversion_every,
        "method.inversion_batch": method.inversion_batch,
        "method.bank_images": method.bank_images,
    }
    return [Line(name, {"method.name": name, **alike}) for name in ("fast", "nayer")]


def _embeddings(config: RunConfig) -> Sequence[Line]:
    """Of class names, if there are any, and one-hot vectors."""
    one_hot = Line("nayer_one_hot", {"method.name": "nayer", "method.embeddings": None})
    file = _file(config)
    if file is None:
        return [one_hot]
    return [Line("nayer_lte", {"method.name": "nayer", "method.embeddings": file}), one_hot]


def _how_to_embed(config: RunConfig) -> str:
    if _file(config) is not None:
        return ""
    return (
        "NAYER with LTE needs a file with an embedding of each class's name, which nobody can make but you "
        "(docs/methods/nayer.md); with it: `method.embeddings=FILE.npy name=ANOTHER`"
    )


def _whose_embeddings(config: RunConfig) -> str:
    """What the row `nayer` of Table 6 starts from."""
    if _file(config) is not None:
        return ""
    return (
        "The published NAYER has embeddings of the classes' names, here it has one-hot vectors: a difference "
        "of 71.72 to 70.78 on CIFAR-100 in the supplement's Table 8; with a file of embeddings "
        "(docs/methods/nayer.md): `method.embeddings=FILE.npy name=ANOTHER`"
    )


def _where_they_fit(part: Part, config: RunConfig) -> RunConfig:
    """Of two parts, embeddings are those of one's classes; the other goes without."""
    method, file = config.method, _file(config)
    if not isinstance(method, Nayer) or file is None or _count(file) != OTHERS.get(part.name):
        return config
    return config.model_copy(update={"method": dataclasses.replace(method, embeddings=None)})


def _file(config: RunConfig) -> str | None:
    return config.method.embeddings if isinstance(config.method, Nayer) else None


def _count(file: str) -> int:
    """How many vectors there are; -1 of what is no such file, which the run's own check says better."""
    try:
        return len(read_embeddings(file))
    except EmbeddingsError:
        return -1


NAYER_TABLES: Mapping[str, Table] = {
    "nayer-6": Table(
        title="NAYER, supplement, Table 6: updates of a batch of images",
        parts=_parts_of_6,
        rows=_equally_often,
        columns=fixed(*(Line(f"g{steps}", {"method.inversion_steps": steps}) for steps in published.STEPS)),
        note=_whose_embeddings,
    ),
    "nayer-8": Table(
        title="NAYER, supplement, Table 8: embeddings of class names, or one-hot vectors",
        parts=_parts_of_8,
        rows=_embeddings,
        columns=fixed(Line(published.STUDENT, {})),
        fitted=_where_they_fit,
        note=_how_to_embed,
    ),
}
