"""What the finished runs of a study say, cell by cell."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusion.untrusted import one_line
from orchestrator.comparison.files import Summary, TransferSetFile, read_model, read_object
from orchestrator.comparison.statistics import Spread, spread
from orchestrator.environment import ENVIRONMENT
from orchestrator.reproducing.layout import Line, Part
from orchestrator.run_folder import finished_summary
from orchestrator.sweep.space import Space
from orchestrator.sweep.study import TRIALS, trial_name
from orchestrator.sweep.trial import ERROR
from orchestrator.transfer import FILE

REFERENCES = ("gold_standard", "teachers", "teacher_ensemble")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """A row in a column: over the seeds whose runs are finished."""

    row: str
    column: str
    spreads: tuple[Spread, ...]
    """Test accuracies of the last epoch in percent; one, but for teachers one each; none: nothing
    finished."""
    by_seed: Mapping[int, Sequence[float]]
    published: str
    seconds: float | None = None
    """Mean of a run, from its start to its end; None for references, which are measured in every run."""
    distance: Spread | None = None
    """Of the transfer set to the test images, the mean over teachers; None: it has none, or is not asked
    for."""
    failed: tuple[str, ...] = ()
    """``seed: reason`` of the runs that failed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filled:
    """A part with its results."""

    part: Part
    columns: list[str]
    rows: list[str]
    cells: Mapping[tuple[str, str], Cell]
    seconds: float
    """Of all finished runs together."""
    unfinished: int
    hardware: list[str]


def case_name(row: Line, column: Line) -> str:
    """Of the fusions in a cell."""
    return f"{row.key}_{column.key}"


def filled(
    part: Part,
    folder: Path,
    space: Space,
    rows: Sequence[Line],
    columns: Sequence[Line],
    seeds: Sequence[int],
) -> Filled:
    """Read the runs in a study's `folder`; cells that are not among the cases of `space` stay empty.

    Raises:
        UserError: a summary is damaged.
    """
    cells: dict[tuple[str, str], Cell] = {}
    count, total, machines = 0, 0.0, dict[str, None]()
    for column in columns:
        references: dict[int, Summary] = {}
        for row in rows:
            values = space.cases.get(case_name(row, column))
            if values is None:
                continue
            found, failed, distances = {}, [], []
            for seed in seeds:
                place = folder / TRIALS / trial_name(space, values, seed)
                if finished_summary(place) is not None:
                    found[seed] = read_model(place / "summary.json", Summary)
                    machines[_machine(place)] = None
                    distances += _distance(place) if part.distances is not None else []
                elif (error := place.with_name(place.name + ERROR)).exists():
                    failed.append(f"seed {seed}: {error.read_text(encoding='utf-8').strip()}")
            references = {**found, **references}
            count += len(found)
            total += sum(one.seconds for one in found.values())
            cell = _cell(part, row.key, column.key, found, failed)
            cells[row.key, column.key] = dataclasses.replace(cell, distance=spread(distances))
        for name in REFERENCES:
            cells[name, column.key] = _reference(part, name, column.key, references)
    printed = [row for row, _ in part.published]
    names = dict.fromkeys([*REFERENCES, *printed, *(row.key for row in rows)])
    heads = dict.fromkeys([*(column.key for column in columns), *(column for _, column in part.published)])
    return Filled(
        part=part,
        columns=list(heads),
        rows=list(names),
        cells=cells,
        seconds=total,
        unfinished=len(space.cases) * len(seeds) - count,
        hardware=list(machines),
    )


def _cell(part: Part, row: str, column: str, found: Mapping[int, Summary], failed: Sequence[str]) -> Cell:
    by_seed = {
        seed: [one.student.accuracy]
        for seed, one in found.items()
        if one.student is not None and one.student.accuracy is not None
    }
    times = spread([one.seconds for one in found.values()])
    return Cell(
        row=row,
        column=column,
        spreads=_spreads(by_seed),
        by_seed=by_seed,
        published=part.published.get((row, column), ""),
        seconds=None if times is None else times.mean,
        failed=tuple(failed),
    )


def _reference(part: Part, name: str, column: str, found: Mapping[int, Summary]) -> Cell:
    """Measured in each run; runs of one seed have the same teachers."""
    by_seed: dict[int, Sequence[float]] = {}
    for seed, one in sorted(found.items()):
        scores = {
            "teachers": [teacher.accuracy for teacher in one.teachers],
            "teacher_ensemble": [one.ensemble.accuracy],
            "gold_standard": [one.gold_standard.accuracy] if one.gold_standard else [],
        }[name]
        known = [value for value in scores if value is not None]
        if known:
            by_seed[seed] = known
    return Cell(
        row=name,
        column=column,
        spreads=_spreads(by_seed),
        by_seed=by_seed,
        published=part.published.get((name, column), ""),
    )


def _spreads(by_seed: Mapping[int, Sequence[float]]) -> tuple[Spread, ...]:
    found = [spread(values) for values in zip(*by_seed.values(), strict=True)]
    return tuple(one for one in found if one is not None)


def _distance(folder: Path) -> list[float]:
    """Of a run's transfer set: the mean over its teachers, if there are test images."""
    known = read_model(folder / FILE, TransferSetFile).hausdorff.values()
    found = [one for one in known if one is not None]
    return [sum(found) / len(found)] if found else []


def _machine(folder: Path) -> str:
    """What a run was made on and by which code, in words."""
    about: Mapping[str, Any] = read_object(folder / ENVIRONMENT)
    gpus = about.get("gpus") or ["no GPU"]
    versions = about.get("packages") or {}
    parts = [f"{about.get('cpus')} CPUs ({about.get('processor')})", ", ".join(map(str, gpus))]
    code = about.get("git_commit") or versions.get("dfmf")
    return one_line("; ".join([*parts, f"torch {versions.get('torch')}", f"dfmf {code}"]))
