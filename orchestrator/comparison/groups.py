"""Runs that differ in nothing but their seeds form a group, called after what it has differently."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fusion.untrusted import one_line
from orchestrator.comparison.records import Run

FREE = {"name", "output", "seed", "teachers", "tracking", "engine", "checkpoint", "audit"}
"""Sections that may differ within a group: they decide no result. The teachers are compared by their weights
(`orchestrator.comparison.comparable`) and by what `_OF_TEACHERS` says of them."""
_OF_TEACHERS = re.compile(
    r"teachers\.\d+\.(network|arguments|classes|image_size|channels|mean|std|value_range|label_map)(\..+)?"
)
"""What is given of a teacher and decides what its weights say."""
MOST_KEYS = 4
"""Groups that differ in more keys are called after their first run, without its seed."""
ONLY = "all runs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Runs with one configuration and several seeds."""

    label: str
    values: Mapping[str, Any]
    """What it has under the keys that differ between groups."""
    runs: tuple[Run, ...]
    """Those that count: finished, one for each seed."""
    others: tuple[Run, ...]
    """Those that are not finished."""

    @property
    def by_seed(self) -> dict[int, Run]:
        """The runs that count."""
        return {run.seed: run for run in self.runs}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grouping:
    """Groups in order, and what they are called after."""

    groups: list[Group]
    keys: list[str]
    """Those that differ between groups."""
    repeated: list[tuple[Run, Run]]
    """Finished runs with the configuration and the seed of another one, which counts in their place."""


def make_groups(runs: Sequence[Run]) -> Grouping:
    """Group runs by their configuration; in the order of their values if these are numbers, else as they
    come.

    A run without a configuration is in no group.
    """
    members: dict[str, list[Run]] = {}
    for run in runs:
        if run.config:
            members.setdefault(_identity(_decides(run)), []).append(run)
    trees = [_decides(group[0]) for group in members.values()]
    keys = differing(trees)
    labels = _labels([{key: tree.get(key) for key in keys} for tree in trees], keys, list(members.values()))
    groups, repeated = [], []
    for label, tree, group in zip(labels, trees, members.values(), strict=True):
        counted: dict[int, Run] = {}
        for run in group:
            if run.finished and counted.setdefault(run.seed, run) is not run:
                repeated.append((run, counted[run.seed]))
        groups.append(
            Group(
                label=label,
                values={key: tree.get(key) for key in keys},
                runs=tuple(counted.values()),
                others=tuple(run for run in group if not run.finished),
            )
        )
    if all(is_number(group.values[key]) for group in groups for key in keys):
        groups.sort(key=lambda group: [group.values[key] for key in keys])
    return Grouping(groups=groups, keys=keys, repeated=repeated)


def differing(trees: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys that have not the same value in all of the configurations."""
    every = dict.fromkeys(key for tree in trees for key in tree)
    return [key for key in every if any(tree.get(key) != trees[0].get(key) for tree in trees)]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key, or all of it where two keys end alike."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: end if last.count(end) == 1 else key for key, end in zip(keys, last, strict=True)}


def shown_value(value: object) -> str:
    """As it stands in a label."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(shown_value(one) for one in value) + "]"
    return one_line(str(value))


def is_number(value: object) -> bool:
    """Whether it can stand on an axis."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def same_settings(run: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two configurations on one level are of one group."""
    return _deciding(run) == _deciding(other)


def said_of_teachers(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration on one level gives of its teachers, beside their files."""
    given = {key: value for key, value in config.items() if value is not None}
    return {key: value for key, value in given.items() if _OF_TEACHERS.fullmatch(key)}


def _decides(run: Run) -> dict[str, Any]:
    return _deciding(run.config)


def _deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    decides = {key: value for key, value in config.items() if key.partition(".")[0] not in FREE}
    return decides | said_of_teachers(config)


def _identity(config: Mapping[str, Any]) -> str:
    """The same for 3 and 3.0, which a sweep's file need not tell apart."""
    numbers = {key: float(value) if is_number(value) else value for key, value in config.items()}
    return json.dumps(numbers, sort_keys=True)


def _labels(values: list[dict[str, Any]], keys: list[str], members: list[list[Run]]) -> list[str]:
    if not keys:
        return [ONLY for _ in members]
    names = short_names(keys)
    if len(keys) > MOST_KEYS:
        labels = [group[0].name.removesuffix(f"_seed-{group[0].seed}") for group in members]
    else:
        labels = [", ".join(f"{names[key]}={shown_value(one[key])}" for key in keys) for one in values]
    return [label if labels.count(label) == 1 else f"{label} ({i})" for i, label in enumerate(labels, 1)]
