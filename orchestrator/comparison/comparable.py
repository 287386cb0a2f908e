"""Whether runs can be compared at all: measured on the same images, fused from the same teachers; and what
else they do not have in common."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fusion.untrusted import one_line
from orchestrator.comparison.groups import said_of_teachers
from orchestrator.comparison.records import Run
from orchestrator.environment import rounding
from orchestrator.errors import user_error

EXPLAINS = ("pretrain", "compute", "engine.threads")
"""Parts of a configuration that decide what the teachers become that a run pretrains."""
SHORT_HASH = 12


def check_comparable(runs: Sequence[Run]) -> None:
    """Refuse finished runs whose accuracies say nothing about each other.

    Their sections `data` must be equal. Runs with equal seeds must have fused teachers with equal weights, of
    which their configurations do not say different things, unless all of them trained their own and the
    configuration says that these were to differ.

    Raises:
        UserError: which keys or teachers differ, and where.
    """
    first = runs[0]
    for run in runs[1:]:
        differing = differing_keys(first, run, ("data",))
        if differing:
            raise _incomparable(first, run, "other data", differing)
    seen: list[Run] = []
    for run in runs:
        for other in seen:
            if other.seed != run.seed or _explained(other, run):
                continue
            if differing := _other_teachers(other, run):
                raise _incomparable(other, run, f"other teachers with seed {run.seed}", differing)
        if not any(
            _teachers(one) == _teachers(run) and not differing_keys(one, run, EXPLAINS) for one in seen
        ):
            seen.append(run)


def made_otherwise(runs: Sequence[Run]) -> list[str]:
    """A line for each thing that may change results or seconds and is not the same for all runs."""
    made, notes = [_made_with(run.environment) for run in runs], []
    for name in dict.fromkeys(key for one in made for key in one):
        counts = Counter(one.get(name, "unknown") for one in made)
        if len(counts) > 1:
            each = ", ".join(f"{value} ({count} of {len(runs)} runs)" for value, count in counts.items())
            notes.append(f"runs differ in {name}, which may be a part of any difference: {each}")
    return notes


def differing_keys(one: Run, other: Run, sections: Sequence[str]) -> list[str]:
    """``key: value and value`` for what the configurations have differently in some sections."""
    keys = [
        key
        for key in dict.fromkeys([*one.config, *other.config])
        if any(key == section or key.startswith(f"{section}.") for section in sections)
        and one.config.get(key) != other.config.get(key)
    ]
    return [f"{key}: {_shown(one, key)} and {_shown(other, key)}" for key in keys]


def _made_with(environment: Mapping[str, Any]) -> dict[str, str]:
    """By name; nothing if its file is lost or of something else."""
    try:
        found = {"commit": environment["git_commit"], **rounding(environment)}
    except (LookupError, TypeError):
        return {}
    return {name: one_line(str(value or "none")) for name, value in found.items()}


def _explained(one: Run, other: Run) -> bool:
    named = any(key.startswith("teachers.") for run in (one, other) for key in run.config)
    return not named and bool(differing_keys(one, other, EXPLAINS))


def _teachers(run: Run) -> tuple[list[str], dict[str, Any]]:
    return [teacher.sha256 for teacher in run.results.teachers], said_of_teachers(run.config)


def _other_teachers(one: Run, other: Run) -> list[str]:
    """In what their teachers differ: the weights, or what both configurations say of them."""
    mine, theirs = one.results.teachers, other.results.teachers
    if len(mine) != len(theirs):
        return [f"{len(mine)} and {len(theirs)} of them"]
    other_weights = [
        f"{a.name}: sha256 {a.sha256[:SHORT_HASH]} and {b.sha256[:SHORT_HASH]}"
        for a, b in zip(mine, theirs, strict=True)
        if a.sha256 != b.sha256
    ]
    ours, others = said_of_teachers(one.config), said_of_teachers(other.config)
    both = [key for key in ours if key in others and ours[key] != others[key]]
    return other_weights + [f"{key}: {ours[key]} and {others[key]}" for key in both]


def _shown(run: Run, key: str) -> Any:
    return run.config.get(key, "nothing")


def _incomparable(one: Run, other: Run, what: str, differing: list[str]) -> Exception:
    return user_error(f"{one.origin} and {other.origin} cannot be compared: {what} ({'; '.join(differing)})")
