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


FRESH = Snapshot()
"""Nothing is done yet."""
