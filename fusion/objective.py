"""An objective is a set of named, weighted loss terms: weighted for the gradient, unweighted for the log."""

from typing import NamedTuple, TypeAlias

from torch import Tensor


class Term(NamedTuple):
    """One loss term: `value` is the scalar as in its equation, `weight` what it is multiplied with."""

    weight: float
    value: Tensor


Objective: TypeAlias = dict[str, Term]


def total(objective: Objective) -> Tensor:
    """The weighted sum that is minimised. An objective must have at least one term."""
    values = [term.weight * term.value for term in objective.values()]
    return sum(values[1:], start=values[0])


def unweighted(objective: Objective) -> dict[str, Tensor]:
    """The detached terms by name, on one scale whatever their weights are."""
    return {name: term.value.detach() for name, term in objective.items()}
