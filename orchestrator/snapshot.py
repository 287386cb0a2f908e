"""The state of a whole run between two iterations, as an engine gives and takes it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from torch import Tensor

Tensors: TypeAlias = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartySnapshot:
    """A party after `warmup_steps` updates of the warm-up and `iterations` of the main phase."""

    warmup_steps: int
    iterations: int
    state: Tensors
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Loss terms of its last epoch of the warm-up, while the warm-up lasts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spent:
    """How long a run took up to a snapshot, in all its starts; what a crash lost is not in it."""

    seconds: float = 0.0
    to_first_iteration: float | None = None
    """Of these, until the first iteration of the main phase was over; None before."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A run after `iterations` of the student.

    A party may be behind the student: it gives the same images again until it has caught up.
    """

    iterations: int = 0
    student: Tensors | None = None
    """None before its first iteration."""
    parties: Mapping[int, PartySnapshot] = dataclasses.field(default_factory=dict)
    """By index; those that are missing have not begun."""
    records: Sequence[Mapping[str, float]] = ()
    """Metrics of the iterations that the epoch in work has had."""
    rewinds: int = 0
    """How often the run went back because its numbers were no good."""
    spent: Spent = Spent()
    """Noted when it is written to a checkpoint."""


FRESH = Snapshot()
"""Nothing is done yet."""


def spent_of(entry: Mapping[str, float | None]) -> Spent:
    """`Spent` as a manifest has it; of one without, nothing.

    Raises:
        TypeError, ValueError: it is none.
    """
    first = entry.get("to_first_iteration")
    seconds = float(entry.get("seconds") or 0.0)
    return Spent(seconds=seconds, to_first_iteration=None if first is None else float(first))
