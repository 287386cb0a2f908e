"""The comparison as tables: for the terminal, as rows of text, and as numbers for programs."""

import dataclasses
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.comparison.compared import Comparison, Row
from orchestrator.comparison.statistics import Difference, Spread

DASH = "-"


def comparison_table(comparison: Comparison) -> Table:
    """A row a group, the reference in bold; narrow enough for 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("group", overflow="fold")
    narrow = ("seeds", f"{comparison.measure} %", "to reference [95 %]", "gap %", "best", "ens.", "s")
    for name in narrow:
        table.add_column(name, justify="right", no_wrap=True)
    _, rows = table_text(comparison)
    for row, cells in zip(comparison.rows, rows, strict=True):
        style = "bold" if row.group is comparison.reference else None
        table.add_row(*map(Text, cells), style=style)
    return table


def left_out_table(comparison: Comparison) -> Table:
    """The runs that are not finished, each with its reason."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("left out", "is", "because"):
        table.add_column(name)
    for run in comparison.left_out:
        table.add_row(*map(Text, (run.name, run.status, run.reason or DASH)))
    return table


def table_text(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and cells as people read them."""
    header = [
        "group",
        "seeds",
        f"{comparison.measure} %",
        f"difference to {comparison.reference.label} [95 %]",
        "gap closed %",
        "best teacher %",
        "ensemble %",
        "seconds",
    ]
    return header, [_cells(comparison, row) for row in comparison.rows]


def headline(comparison: Comparison) -> str:
    """What is compared, in a line."""
    seeds = sorted({run.seed for run in comparison.counted})
    return (
        f"{len(comparison.counted)} runs in {len(comparison.groups)} groups, seeds "
        f"{', '.join(str(seed) for seed in seeds)}; mean ± sample standard deviation; difference to "
        f"{comparison.reference.label} over common seeds, with its paired 95 % interval; gap closed between "
        "the best teacher and the ensemble; s: seconds of the main phase"
    )


def as_json(comparison: Comparison) -> dict[str, Any]:
    """All numbers, for programs."""
    return {
        "measure": comparison.measure,
        "reference": comparison.reference.label,
        "keys": comparison.keys,
        "groups": [
            {"label": row.group.label, "values": dict(row.group.values), "unfinished": len(row.group.others)}
            | {
                field.name: None if value is None else dataclasses.asdict(value)
                for field in dataclasses.fields(row)
                if field.name != "group"
                for value in (getattr(row, field.name),)
            }
            | {"runs": {str(run.seed): comparison.score(run) for run in row.group.runs}}
            for row in comparison.rows
        ],
        "left_out": [
            {"name": run.name, "status": run.status, "reason": run.reason} for run in comparison.left_out
        ],
        "notes": comparison.notes,
    }


def numbers(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """The table for a CSV file, with all digits."""
    spreads = ("score", "gap_closed", "best_teacher", "ensemble", "seconds")
    names = [comparison.measure, *spreads[1:]]
    header = [*("group", "reference", "seeds", "unfinished")]
    header += [f"{name}_{part}" for name in names for part in ("mean", "sd")]
    header += [f"difference_{part}" for part in ("mean", "low", "high", "pairs")]
    rows = []
    for row in comparison.rows:
        cells: list[Any] = [row.group.label, row.group is comparison.reference]
        cells += [len(row.group.runs), len(row.group.others)]
        for name in spreads:
            value: Spread | None = getattr(row, name)
            cells += [None, None] if value is None else [value.mean, value.deviation]
        gap = row.difference
        cells += [None] * 4 if gap is None else [gap.mean, gap.low, gap.high, gap.count]
        rows.append(cells)
    return header, rows


def run_numbers(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """A line a run, also of those that do not count, with what differs between groups."""
    header = ["run", "origin", "group", "seed", "status", "reason", comparison.measure, "seconds"]
    groups = {
        run.identity: group.label for group in comparison.groups for run in (*group.runs, *group.others)
    }
    rows = []
    for run in comparison.runs:
        label = groups.get(run.identity, "")
        status = run.status if label or not run.finished else "repeated"
        cells: list[Any] = [run.name, run.origin, label, run.seed, status, run.reason]
        cells += [comparison.score(run), run.results.main_phase_seconds] if run.finished else [None, None]
        rows.append([*cells, *(run.config.get(key) for key in comparison.keys)])
    return [*header, *comparison.keys], rows


def _cells(comparison: Comparison, row: Row) -> list[str]:
    group = row.group
    total = len(group.runs) + len(group.others)
    return [
        group.label,
        str(total) if not group.others else f"{len(group.runs)}/{total}",
        spread_text(row.score, 2),
        "reference" if group is comparison.reference else difference_text(row.difference),
        spread_text(row.gap_closed, 0),
        mean_text(row.best_teacher, 2),
        mean_text(row.ensemble, 2),
        mean_text(row.seconds, 0),
    ]


def spread_text(value: Spread | None, digits: int) -> str:
    """Mean and standard deviation, or a dash for what there is none of."""
    if value is None:
        return DASH
    if value.deviation is None:
        return f"{value.mean:.{digits}f} ± {DASH}"
    return f"{value.mean:.{digits}f} ± {value.deviation:.{digits}f}"


def mean_text(value: Spread | None, digits: int) -> str:
    """The mean alone."""
    return DASH if value is None else f"{value.mean:.{digits}f}"


def difference_text(value: Difference | None) -> str:
    """With its interval."""
    return DASH if value is None else f"{value.mean:+.2f} [{value.low:.2f}, {value.high:.2f}]"
