"""The tables that can be run: which fusions stand in which row and column, beside which published numbers."""

import functools
from collections.abc import Mapping

from fusion.method import Method
from fusion.methods import METHODS
from fusion.schedule import Schedule
from orchestrator.config import RunConfig
from orchestrator.reproducing.layout import Line, Part, Scale, Table, fixed
from orchestrator.reproducing.nayer_tables import NAYER_TABLES
from orchestrator.reproducing.scales import dfmf_parts
from orchestrator.reproducing.transfer_tables import TRANSFER_TABLES

TITLES = {
    "gold_standard": "gold standard",
    "teachers": "teachers",
    "teacher_ensemble": "teacher ensemble",
    "zskt": "ZSKT",
    "dafl": "DAFL",
    "dfq_no_adv": "DFQ (w/o ADV)",
    "dfq": "DFQ",
    "cmi": "CMI",
    "cmi_ga": "CMI (w/GA)",
    "dfmf": "DFMF",
    "deepinversion": "DeepInversion",
    "adaptive_deepinversion": "Adaptive DeepInversion",
    "vanilla_kd": "vanilla KD on real data",
    "ga_is_teacher": "DFMF (GA=T)",
    "ga_is_student": "DFMF (GA=S)",
    "m_ga_5": "M_GA = 5",
    "m_ga_10": "M_GA = 10",
    "fast": "FastDFKD (FM)",
    "nayer": "NAYER",
    "spaceshipnet": "SpaceshipNet",
    "nayer_lte": "NAYER with LTE",
    "nayer_one_hot": "NAYER with one-hot vectors",
    "data": "training images",
    "noise": "random noise",
}
"""What rows are called; others have their own names."""


def split(r: float) -> Line:
    """The parties' shares of the training images: even, or with the imbalance ratio `r`."""
    if r == 1:
        return Line("balanced", {"pretrain.split": "balanced"})
    return Line(f"r{r:g}", {"pretrain.split": "imbalanced", "pretrain.r": float(r)})


def method_line(name: str, schedule: Schedule) -> Line:
    """A method with the warm-up that it has when the others have that of `schedule` (Section 4.1).

    One that freezes its generators gets all their updates there, N_warm-up + N epochs (250 in the paper).
    """
    method: type[Method] = METHODS[name]
    epochs = schedule.warmup_epochs if method.warmup_loss is not None else 0
    if method.has_generator and not method.trains_generators:
        epochs += schedule.epochs
    return Line(name, {"method.name": name, "schedule.warmup_epochs": epochs})


def all_methods(config: RunConfig) -> list[Line]:
    """Every method that needs nothing but teachers; and the upper bound, on real data."""
    names = [name for name, method in METHODS.items() if method.data_free]
    return [method_line(name, config.schedule) for name in [*names, "vanilla_kd"]]


def assisted_methods(config: RunConfig) -> list[Line]:
    """Those of Table 4, as far as there are."""
    return [method_line(name, config.schedule) for name in ("cmi_ga", "dfmf") if name in METHODS]


def assistants(_: RunConfig) -> list[Line]:
    """Assistants like their teachers, or like the student."""
    return [Line(f"ga_is_{who}", {"assistant": who}) for who in ("teacher", "student")]


def assistant_updates(_: RunConfig) -> list[Line]:
    """M_GA as in the supplement."""
    return [Line(f"m_ga_{count}", {"schedule.m_ga": count}) for count in (5, 10)]


DFMF_TABLES: Mapping[str, Table] = {
    "dfmf-2": Table(
        title="DFMF, Table 2: methods, two parties with the same network",
        parts=functools.partial(dfmf_parts, "dfmf-2"),
        rows=all_methods,
        columns=fixed(split(1), split(3)),
    ),
    "dfmf-3": Table(
        title="DFMF, Table 3: parties with different networks; assistants like teacher or student",
        parts=functools.partial(dfmf_parts, "dfmf-3"),
        rows=assistants,
        columns=fixed(split(1), split(3)),
    ),
    "dfmf-4": Table(
        title="DFMF, Table 4: two and four parties, more and more imbalanced",
        parts=functools.partial(dfmf_parts, "dfmf-4"),
        rows=assisted_methods,
        columns=fixed(split(1), split(3), split(10), split(20)),
    ),
    "dfmf-s1": Table(
        title="DFMF, supplement, Table 1: updates of the assistants in an iteration",
        parts=functools.partial(dfmf_parts, "dfmf-s1"),
        rows=assistant_updates,
        columns=fixed(split(1), split(3)),
    ),
}
TABLES: Mapping[str, Table] = {**DFMF_TABLES, **NAYER_TABLES, **TRANSFER_TABLES}


def parts_of(table: str, scale: Scale) -> list[Part]:
    """The studies that make up a table."""
    return TABLES[table].parts(scale)
