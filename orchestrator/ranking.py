"""Ranking runs by a criterion, choosing a configuration, and how good the choice was.

Runs with different seeds have different teachers, so their values are not on one scale: ranks are given
within a seed.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from fusion.criteria import CRITERIA, Criterion
from orchestrator.errors import user_error

OWN, COMMON = "own", "common"
COMMON_CRITERIA = {f"{COMMON}/{name}": one for name, one in CRITERIA.items() if one.of_student}
"""On the images of all runs; what describes the images is the same there for all students."""
RANKABLE: Mapping[str, Criterion] = {
    **COMMON_CRITERIA,
    **{f"{OWN}/{name}": one for name, one in CRITERIA.items()},
}
DEFAULT = "common/balanced_agreement"
"""It measured best (docs/choosing.md)."""
FEWEST = 3
"""Runs of a seed below which no rank correlation is given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A run as a choice without labels sees it."""

    folder: Path
    seed: int
    configuration: str
    """In words: what the runs differ in."""
    criteria: Mapping[str, float | None]
    """By the names of `RANKABLE`."""


def check_criterion(by: str) -> None:
    """Refuse a name that is none of `RANKABLE`.

    Raises:
        UserError: with those that are known.
    """
    if by not in RANKABLE:
        close = difflib.get_close_matches(by, RANKABLE, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        raise user_error(f"--by: unknown criterion {by!r}{guess} (known: {', '.join(RANKABLE)})")


def goodness(value: float | None, by: str) -> float:
    """A criterion's value so that more is better; one that is missing is the worst."""
    if value is None:
        return -math.inf
    return value if RANKABLE[by].better == "higher" else -value


def seed_ranks(records: Sequence[Record], by: str) -> list[float]:
    """The rank of every run among those with its seed: 0 the best, 1 the worst, the mean of what ties
    share."""
    ranks = [0.0] * len(records)
    for members in by_seed(records):
        worth = [-goodness(records[index].criteria[by], by) for index in members]
        for index, rank in zip(members, stats.rankdata(worth), strict=True):
            ranks[index] = float(rank - 1) / max(len(members) - 1, 1)
    return ranks


def mean_ranks(records: Sequence[Record], by: str) -> dict[str, float]:
    """By configuration the mean of its runs' ranks, the best first; equal ones stay in the order of the runs.

    A configuration that has finished with fewer seeds than another is left out: it may have failed where
    that is hard.
    """
    ranks = seed_ranks(records, by)
    seeds: dict[str, set[int]] = {}
    found: dict[str, list[float]] = {}
    for record, rank in zip(records, ranks, strict=True):
        seeds.setdefault(record.configuration, set()).add(record.seed)
        found.setdefault(record.configuration, []).append(rank)
    most = max(len(one) for one in seeds.values())
    means = {name: float(np.mean(one)) for name, one in found.items() if len(seeds[name]) == most}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def choose(records: Sequence[Record], by: str) -> str:
    """The configuration with the best mean rank."""
    return next(iter(mean_ranks(records, by)))


def spearman(values: Sequence[float], accuracies: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None below `FEWEST` values, or where one side is all equal."""
    if len(values) < FEWEST or len(set(values)) == 1 or len(set(accuracies)) == 1:
        return None
    return float(stats.spearmanr(values, accuracies).statistic)


def judge(records: Sequence[Record], accuracies: Sequence[float]) -> dict[str, Any]:
    """How well each criterion ranked these runs, now that their accuracies are known.

    `spearman` is the mean over seeds of the correlation of goodness and accuracy (1: the same order), beside
    each seed's. `regret` is the mean accuracy of the best configuration minus that of the chosen one, in
    points; `regret_of_chance` is that of a configuration drawn at random.
    """
    groups = by_seed(records)
    candidates = mean_ranks(records, DEFAULT)
    accuracy = {
        name: float(
            np.mean([a for a, one in zip(accuracies, records, strict=True) if one.configuration == name])
        )
        for name in candidates
    }
    best = max(accuracy.values())
    criteria = {}
    for by in RANKABLE:
        correlations = [
            spearman([goodness(records[i].criteria[by], by) for i in group], [accuracies[i] for i in group])
            for group in groups
        ]
        known = [one for one in correlations if one is not None]
        chosen = choose(records, by)
        criteria[by] = {
            "spearman": float(np.mean(known)) if known else None,
            "by_seed": {str(records[g[0]].seed): one for g, one in zip(groups, correlations, strict=True)},
            "chosen": chosen,
            "regret": best - accuracy[chosen],
        }
    return {
        "seeds": len(groups),
        "runs": len(records),
        "configurations": len(accuracy),
        "best_accuracy": best,
        "regret_of_chance": best - float(np.mean(list(accuracy.values()))),
        "criteria": criteria,
    }


def by_seed(records: Sequence[Record]) -> list[list[int]]:
    """Positions of the runs, a list for each seed."""
    groups: dict[int, list[int]] = {}
    for index, record in enumerate(records):
        groups.setdefault(record.seed, []).append(index)
    return list(groups.values())
