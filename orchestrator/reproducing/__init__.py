"""A paper's tables by one command: ordinary fusions, as sweeps, written beside the published numbers."""

import contextlib
import dataclasses
import itertools
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console

from orchestrator.config import RunConfig
from orchestrator.errors import Interrupted, RunFailed, UserError, user_error
from orchestrator.reproducing.checking import check_runs, check_same
from orchestrator.reproducing.layout import Line, Part, Scale
from orchestrator.reproducing.order import Order, check_keys
from orchestrator.reproducing.overriding import check_reach, keys_of, overridden
from orchestrator.reproducing.results import case_name
from orchestrator.reproducing.scales import base_of
from orchestrator.reproducing.study import PartStudy
from orchestrator.reproducing.tables import TABLES, parts_of
from orchestrator.reproducing.writing import csv, markdown
from orchestrator.run_folder import write_text
from orchestrator.sweep import driving
from orchestrator.sweep.earlier import begun_before
from orchestrator.sweep.paths import absolute
from orchestrator.sweep.wishes import CACHE, Wishes
from orchestrator.terminal import terminal

__all__ = ["TABLES", "Order", "Reproduced", "Scale", "reproduce"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reproduced:
    """A table that has been written."""

    folder: Path
    """With table.md and table.csv."""
    failed: int
    """How many of the runs that were asked for are not finished."""


def reproduce(order: Order, console: Console | None = None) -> Reproduced:
    """Run what is not finished of a table, all its parts, and write it: table.md and table.csv. The same
    order again goes on where it stopped.

    Raises:
        UserError: there is no such table, scale, row, column or part; its data is not there; its folder is of
            another configuration. Nothing has been run or written.
        Interrupted: Ctrl-C or SIGTERM; the table has what is finished.
        RunFailed: the disk does not take the table.
    """
    console = console or terminal()
    studies = _studies(order)
    folder = studies[0].folder.parent
    try:
        for study in studies:
            if not study.is_over:
                _run(study, order, console)
    except Interrupted as error:  # The sweep's own words know nothing of the table.
        unwritten, table = _hindrance(order, folder, studies), folder / "table.md"
        kept = f"what is finished is in {table}; " if table.exists() else ""
        said = f"{unwritten}; " if unwritten else kept
        raise type(error)(f"stopped; {said}to go on: {shlex.join(order.command)}") from error
    except UserError as error:
        unwritten = _hindrance(order, folder, studies)
        raise UserError(f"{error}\n{unwritten}" if unwritten else str(error)) from error
    _write(order, folder, studies)
    return Reproduced(folder=folder, failed=sum(study.lacking for study in studies))


def _run(study: PartStudy, order: Order, console: Console) -> None:
    wishes = Wishes(space=order.table, seeds=order.seeds, concurrent=order.concurrent)
    name = study.config.name or order.table
    with contextlib.suppress(RunFailed):  # Of all its runs, which the table says; other parts may do better.
        driving.run_space(study.config, study.space, wishes, name, console, again=True)


def _hindrance(order: Order, folder: Path, studies: Sequence[PartStudy]) -> str:
    """Write the table; why it cannot be, in a line."""
    try:
        _write(order, folder, studies)
    except (UserError, RunFailed) as error:
        return f"the table has not been written: {error}"
    return ""


def _write(order: Order, folder: Path, studies: Sequence[PartStudy]) -> None:
    """With what other orders have finished, if anything is there; `shown` is the order for all of it.

    Raises:
        UserError: a summary is damaged.
        RunFailed: the disk takes nothing.
    """
    if not any(study.folder.exists() for study in studies):
        return
    shown = dataclasses.replace(
        order,
        rows=order.rows and _keys(row for study in studies for row in study.shown_rows),
        columns=order.columns and _keys(column for study in studies for column in study.shown_columns),
        parts=order.parts and tuple(study.part.name for study in studies),
    )
    parts = [study.results(shown) for study in studies]
    configs = {study.part.name: study.config for study in studies}
    title = f"{TABLES[order.table].title} (scale {order.scale})"
    try:
        write_text(folder / "table.md", markdown(title, parts, configs, studies[0].seeds, shown.command))
        write_text(folder / "table.csv", csv(parts))
    except OSError as error:
        raise RunFailed(f"{folder}: cannot be written to ({error.strerror})") from error


def _keys(lines: Iterable[Line]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line.key for line in lines))


def _studies(order: Order) -> list[PartStudy]:
    """Those of which something is to be run, or is finished. Everything that can be wrong is found here,
    before anything is run."""
    if order.table not in TABLES:
        raise user_error(f"TABLE: there is no {order.table!r} (known: {', '.join(TABLES)})")
    if order.scale not in get_args(Scale):
        raise user_error(f"--scale {order.scale}: must be one of {', '.join(get_args(Scale))}")
    parts = parts_of(order.table, order.scale)
    check_keys("--parts", order.parts, (part.name for part in parts))
    studies = [_study(order, part, _placed(order, part)) for part in parts]
    check_keys("--rows", order.rows, (row.key for study in studies for row in study.rows))
    check_keys("--columns", order.columns, (column.key for study in studies for column in study.columns))
    if not any(study.wanted for study in studies):
        raise user_error("--rows, --columns, --parts: the table has no cell there")
    asked = [(row, one.config) for one in studies if one.wanted for row in order.some_rows(one.rows)]
    check_reach(keys_of(order.overrides), asked)
    studies = [study for study in studies if study.wanted or study.shown_rows]
    for study in studies:
        check_same(study, begun_before(study.config))
        if not study.is_over:
            check_runs(study, order.table)
    return studies


def _study(order: Order, part: Part, config: RunConfig) -> PartStudy:
    table = TABLES[order.table]
    keys = keys_of(order.overrides)
    rows = [overridden(row, part, config, keys) for row in table.rows(config)]
    columns = table.columns(config)
    cells = {case_name(row, column): table.cell(row, column) for row in rows for column in columns}
    asked = order.parts is None or part.name in order.parts
    wanted = itertools.product(order.some_rows(rows), order.some_columns(columns)) if asked else ()
    return PartStudy(
        part=dataclasses.replace(part, note=part.note or table.note(config)),
        config=config,
        rows=rows,
        columns=columns,
        cells={name: values for name, values in cells.items() if values is not None},
        wanted=[name for cell in wanted if cells[name := case_name(*cell)] is not None],
        number_of_seeds=order.seeds,
    )


def _placed(order: Order, part: Part) -> RunConfig:
    """The base of a part, in its folder, with the cache and MLflow's store of all runs in `output`."""
    config = TABLES[order.table].fitted(part, absolute(base_of(part, order.overrides)))
    output = Path(config.output)
    cache = config.checkpoint.cache or str(output / CACHE)
    return config.model_copy(
        update={
            "output": str(output / (config.name or f"{order.table}-{order.scale}")),
            "name": part.name,
            "checkpoint": config.checkpoint.model_copy(update={"cache": cache}),
        }
    )
