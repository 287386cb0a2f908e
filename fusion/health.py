"""Whether a run's numbers still make sense: found within an epoch, named by party and loss term."""

import dataclasses
import math
from collections.abc import Mapping

from fusion.settings import Settings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits(Settings):
    """What counts as a run that has gone wrong, besides values that are not finite."""

    largest_adv: float = setting(
        10.0,
        "Nats: a generator's adversarial loss, Eq. (5), is beyond all measure; healthy runs stay below 1.",
        above=0,
    )
    fewest_classes: float = setting(
        1.2,
        "A generator has collapsed when its teacher sees fewer classes than this in its batches: the "
        "exponential of the entropy of the mean prediction, over an epoch. 1: never.",
        at_least=1,
    )


class Diverged(RuntimeError):
    """A loss term that no healthy run has: `term` is its name as in the log, with its party."""

    def __init__(self, term: str, value: float, iteration: int, why: str) -> None:
        super().__init__(term, value, iteration, why)  # All of them, so that it can be pickled.
        self.term, self.value, self.iteration, self.why = term, value, iteration, why

    def __str__(self) -> str:
        return f"{self.term} is {self.value:.4g} {self.why}"


def check_iteration(metrics: Mapping[str, float], iteration: int, limits: Limits) -> None:
    """Look at the loss terms of one iteration (from 0).

    Raises:
        Diverged: one is not finite, or an adversarial loss explodes.
    """
    where = f"in iteration {iteration + 1}"
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Diverged(name, value, iteration, where)
        if name.endswith("/adv") and name.startswith("generator/") and abs(value) > limits.largest_adv:
            raise Diverged(name, value, iteration, f"{where}: it explodes (numerics.limits.largest_adv)")


def check_epoch(metrics: Mapping[str, float], epoch: int, iteration: int, limits: Limits) -> None:
    """Look at the mean loss terms of epoch `epoch` (from 0), which ended with `iteration`.

    Raises:
        Diverged: a generator makes images of one class only.
    """
    name = collapsed(metrics, limits)
    if name is not None:
        what = "the generator has collapsed to one class (numerics.limits.fewest_classes)"
        raise Diverged(name, metrics[name], iteration, f"over epoch {epoch + 1}: {what}")


def collapsed(metrics: Mapping[str, float], limits: Limits) -> str | None:
    """The BCE term, Eq. (3), of a generator that makes images of one class only."""
    if limits.fewest_classes == 1:
        return None  # A batch of one class has exp(-value) = 1 up to rounding.
    for name, value in metrics.items():
        generators = name.startswith("generator/") and name.endswith("/bce")
        if generators and math.exp(-value) < limits.fewest_classes:
            return name
    return None
