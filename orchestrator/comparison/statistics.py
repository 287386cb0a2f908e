"""Means, sample standard deviations, and paired intervals over seeds."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Spread:
    """A mean over `count` values, and their sample standard deviation; None for a single one."""

    mean: float
    deviation: float | None
    count: int


@dataclasses.dataclass(frozen=True)
class Difference:
    """A mean of paired differences, with the ends of its 95 % t interval."""

    mean: float
    low: float
    high: float
    count: int
    """Pairs."""


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation (divided by n - 1); None of nothing."""
    if not values:
        return None
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, len(values))


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """``ours - theirs`` over the seeds that both have, with d +- t_{0.975, n-1} s_d / sqrt(n); None with
    fewer than two of them.

    Source: Student's t interval of paired samples, any textbook.
    """
    from scipy import stats

    common = spread([ours[seed] - theirs[seed] for seed in ours if seed in theirs])
    if common is None or common.deviation is None:
        return None
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, common.count - 1))
    half = quantile * common.deviation / math.sqrt(common.count)
    return Difference(common.mean, common.mean - half, common.mean + half, common.count)
