"""Arbitrary transfer sets, the supplement's Tables 1 to 5: one teacher, and images that are a person's
own."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusion.methods import TransferSet
from orchestrator.config import RunConfig
from orchestrator.errors import user_error
from orchestrator.reproducing import published_transfer as published
from orchestrator.reproducing.layout import Line, Numbers, Part, Scale, Table, fixed
from orchestrator.reproducing.scales import ONE_TEACHER, paper, small
from orchestrator.sweep.space import Parameters
from orchestrator.transfer import DATA, NOISE

SOURCES = "method.sources"
EXAMPLE = "'method.sources=[svhn.parquet, tiny-imagenet]', each a Parquet file or a folder of images"
PAPER = (
    *("pretrain.networks=[alexnet]", "student=alexnet-half"),
    *("pretrain.recipe.lr=0.01", "optimisation.student_lr=0.01"),
    *("schedule.iterations_per_epoch=20", "method.distill_scale=tau_squared"),
)
"""200 updates an epoch are about one pass over 50,000 images."""
PLAIN = ("augmentation.rotation=0", "augmentation.crop=1", "augmentation.flip=0", "augmentation.jitter=0")
"""Images as they are."""
NOTHING = "nothing"
MIXTURES: Mapping[str, tuple[str, str]] = {
    "synthetic": ("clevr", "mid-air"),
    "natural": ("svhn", "tiny-imagenet"),
}
"""Table 5's rows of two sources: the base, and what fills it up."""
DIFFERS = (
    "the paper's distances are to the training images; here they are to the test images. The supplement "
    "names neither the layers of its AlexNet, the schedule, the learning rate nor the temperature"
)
TRAINED_ON: Mapping[Scale, int] = {"digits": 1297, "fashion-mnist": 60_000, "cifar": 50_000, "paper": 50_000}
FIXED_SIZE: Mapping[Scale, int] = {"digits": 240, "fashion-mnist": 10_000, "cifar": 10_000, "paper": 10_000}
"""Of Tables 1 and 2: no more than two classes have."""


def _parts(
    numbers: Numbers,
    scale: Scale,
    *,
    sizes: Mapping[Scale, int] = TRAINED_ON,
    distances: Numbers | None = None,
    more: Sequence[str] = (),
) -> list[Part]:
    common = (*ONE_TEACHER, "schedule.warmup_epochs=0", "method.name=transfer_set")
    changes = (*common, f"method.images={sizes[scale]}", *more)
    if scale != "paper":
        part = small(scale, scale, "CIFAR-10", numbers, *changes)
    else:
        part = paper("cifar10", "CIFAR-10", numbers, *changes, *PAPER)
        part = dataclasses.replace(part, differs=DIFFERS)
    return [dataclasses.replace(part, distances=distances)]


def _training_images(config: RunConfig) -> list[Line]:
    if _sources(config) != (DATA,):
        raise user_error(f"{SOURCES}: this table is of the training images; transfer-2 is the same of others")
    return [_set(DATA, [DATA])]


def _together(config: RunConfig) -> list[Line]:
    """All sources, the first as the base."""
    _own(config)
    named = _named(_sources(config))
    return [_set("-and-".join(named), list(named.values()))]


def _both_orders(config: RunConfig) -> list[Line]:
    """Each of two sources as it comes, and filled up from the other."""
    found = _sources(config)
    if len(found) != 2:
        raise user_error(f"{SOURCES}: this table needs two (got {len(found)}), such as {EXAMPLE}")
    (one, first), (other, second) = _named(found).items()
    return [
        _set(one, [first], balanced=False),
        _set(f"{one}-and-{other}", [first, second]),
        _set(other, [second], balanced=False),
        _set(f"{other}-and-{one}", [second, first]),
    ]


def _alone(config: RunConfig) -> list[Line]:
    """Noise, and each source."""
    return [_set(key, [source]) for key, source in _named([NOISE, *_own(config)]).items()]


def _mixed(config: RunConfig) -> list[Line]:
    """Noise, each mixture of which both sources are there, and each other source."""
    named = _named([NOISE, *_own(config)])
    there = {key: pair for key, pair in MIXTURES.items() if named.keys() >= set(pair)}
    if twice := [key for key in there if key in named]:
        pair = " and ".join(there[twice[0]])
        raise user_error(f"{SOURCES}: {named[twice[0]]}: is called as the mixture of {pair} is; rename it")
    used = {one for pair in there.values() for one in pair}
    mixtures = [_set(key, [named[one] for one in pair]) for key, pair in there.items()]
    alone = [_set(key, [source]) for key, source in named.items() if key not in used]
    return [alone[0], *mixtures, *alone[1:]]


def _fillings(config: RunConfig) -> list[Line]:
    """Nothing, noise, and each source."""
    filled = [Line(key, {SOURCES: [source]}) for key, source in _named([NOISE, *_own(config)]).items()]
    return [Line(NOTHING, {"method.balanced": False}), *filled]


def _filled_up(row: Line, column: Line) -> Parameters | None:
    """A base and what is added to it; of the same images only noise, of which there is always more."""
    base, added = row.values[SOURCES], column.values.get(SOURCES)
    if not (isinstance(base, list) and isinstance(added, list)):
        return {**row.values, **column.values}
    return None if base == added != [NOISE] else {**row.values, SOURCES: [*base, *added]}


def _set(key: str, sources: list[str], *, balanced: bool = True) -> Line:
    return Line(key, {"method.name": "transfer_set", SOURCES: sources, "method.balanced": balanced})


def _sources(config: RunConfig) -> tuple[str, ...]:
    return config.method.sources if isinstance(config.method, TransferSet) else ()


def _own(config: RunConfig) -> list[str]:
    """What is not noise."""
    own = [one for one in _sources(config) if one != NOISE]
    if not own:
        raise user_error(f"{SOURCES}: this table needs images of yours, such as {EXAMPLE}")
    return own


def _named(sources: Sequence[str]) -> dict[str, str]:
    """The sources by what their rows are called: the name of the file or folder."""
    named: dict[str, str] = {}
    taken = {"teachers": "the reference", NOTHING: "the column"}
    for source in sources:
        key = re.sub(r"[^a-z0-9]+", "-", Path(source).name.lower().removesuffix(".parquet")).strip("-")
        if not key or key in named or key in taken:
            other = named.get(key) or f"{taken.get(key)} {key}"
            wrong = f"is called as {other} is" if key else "has a name without letters"
            raise user_error(f"{SOURCES}: {source}: {wrong}, and rows of a table go by names; rename it")
        named[key] = source
    return named


def _note_of_5(_: RunConfig) -> str:
    return (
        "The paper's synthetic images are CLEVR filled up from Mid-Air, its natural ones SVHN filled up from "
        "Tiny ImageNet: two sources called `clevr` and `mid-air`, or `svhn` and `tiny-imagenet`, make such a "
        "row, in which they stand together"
    )


CLASSES = fixed(*(Line(f"{count}-classes", {"method.classes": count}) for count in published.CLASSES))
STUDENT = fixed(Line(published.STUDENT, {}))
TITLE = "Arbitrary transfer sets, supplement, Table"

TRANSFER_TABLES: Mapping[str, Table] = {
    "transfer-1": Table(
        title=f"{TITLE} 1: training images of some of the classes",
        parts=functools.partial(
            _parts,
            published.TABLE_1,
            sizes=FIXED_SIZE,
            distances=published.DISTANCES_1,
            more=[f"{SOURCES}=[{DATA}]"],
        ),
        rows=_training_images,
        columns=CLASSES,
    ),
    "transfer-2": Table(
        title=f"{TITLE} 2: other images in which the teacher sees some of the classes",
        parts=functools.partial(_parts, published.TABLE_2, sizes=FIXED_SIZE, distances=published.DISTANCES_2),
        rows=_together,
        columns=CLASSES,
    ),
    "transfer-3": Table(
        title=f"{TITLE} 3: which of two sources is the base",
        parts=functools.partial(_parts, published.TABLE_3, more=PLAIN),
        rows=_both_orders,
        columns=STUDENT,
    ),
    "transfer-4": Table(
        title=f"{TITLE} 4: what fills up a base",
        parts=functools.partial(_parts, published.TABLE_4, more=PLAIN),
        rows=_alone,
        columns=_fillings,
        cell=_filled_up,
    ),
    "transfer-5": Table(
        title=f"{TITLE} 5: sources and their distances",
        parts=functools.partial(_parts, published.TABLE_5, distances=published.DISTANCES_5),
        rows=_mixed,
        columns=STUDENT,
        note=_note_of_5,
    ),
}
