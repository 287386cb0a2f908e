"""A paper's tables by one command: ordinary fusions, as sweeps, written beside the published numbers."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console

from orchestrator.config import RunConfig
from orchestrator.errors import Interrupted, RunFailed, UserError, user_error
from orchestrator.reproducing.layout import Line, Part, Scale
from orchestrator.reproducing.results import Filled, case_name, filled
from orchestrator.reproducing.scales import HOW_TO_GET, base_of
from orchestrator.reproducing.tables import TABLES, parts_of
from orchestrator.reproducing.writing import csv, markdown
from orchestrator.run_folder import finished_summary, write_text
from orchestrator.sweep import driving
from orchestrator.sweep.paths import absolute
from orchestrator.sweep.space import Parameters, Space, check_space
from orchestrator.sweep.study import TRIALS, trial_name
from orchestrator.sweep.wishes import CACHE, Wishes, prepared
from orchestrator.teachers import read_data
from orchestrator.terminal import terminal

__all__ = ["TABLES", "Order", "Scale", "reproduce"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be run."""

    table: str
    scale: Scale = "digits"
    seeds: int = 3
    rows: tuple[str, ...] | None = None
    """Only these; None: all that there are."""
    overrides: tuple[str, ...] = ()
    concurrent: int | None = None

    @property
    def command(self) -> list[str]:
        """That gives the same table, in any folder."""
        options = ["--scale", self.scale, "--seeds", str(self.seeds)]
        options += ["--rows", ",".join(self.rows)] if self.rows else []
        return ["dfmf", "reproduce", self.table, *options, *self.overrides]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Study:
    part: Part
    config: RunConfig
    cells: Mapping[str, Parameters]
    """All that the table has."""
    lines: Sequence[Line]
    """All rows that the table has."""
    rows: list[Line]
    """Those that are to be run."""
    columns: Sequence[Line]
    number_of_seeds: int

    @property
    def folder(self) -> Path:
        assert self.config.name is not None
        return Path(self.config.output) / self.config.name

    @property
    def seeds(self) -> list[int]:
        return self.space(self.rows).seed_list(self.config.seed)

    def space(self, rows: Sequence[Line]) -> Space:
        names = [case_name(row, column) for row in rows for column in self.columns]
        cases = {name: self.cells[name] for name in names if name in self.cells}
        return Space(cases=cases, seeds=self.number_of_seeds)

    def finished(self, rows: Sequence[Line]) -> list[bool]:
        """Of each run."""
        space, trials = self.space(rows), self.folder / TRIALS
        return [
            finished_summary(trials / trial_name(space, values, seed)) is not None
            for values in space.cases.values()
            for seed in self.seeds
        ]

    @property
    def shown(self) -> list[Line]:
        """What is to be run, and what was begun by another order."""
        return [row for row in self.lines if row in self.rows or any(self.finished([row]))]

    def results(self) -> Filled:
        rows = self.shown
        return filled(self.part, self.folder, self.space(rows), rows, self.columns, self.seeds)


def reproduce(order: Order, console: Console | None = None) -> Path:
    """Run what is not finished of a table, and write it: table.md and table.csv in the folder that is
    returned. The same order again goes on where it stopped.

    Raises:
        UserError: there is no such table, scale or row; its data is not there; its folder is of another
        configuration. Nothing has been run.
        Interrupted: Ctrl-C or SIGTERM; the table has what is finished.
        RunFailed: no run of the table was finished.
    """
    console = console or terminal()
    studies = _studies(order)
    folder = studies[0].folder.parent
    try:
        for study in studies:
            if not all(study.finished(study.rows)):
                _run(study, order, console)
    finally:
        if any(study.folder.exists() for study in studies):
            _write(order, folder, studies)
    return folder


def _run(study: _Study, order: Order, console: Console) -> None:
    wishes = Wishes(space=order.table, seeds=order.seeds, concurrent=order.concurrent)
    name = study.config.name or order.table
    try:
        driving.run_space(study.config, study.space(study.rows), wishes, name, console, again=True)
    except Interrupted as error:  # The sweep's own words know nothing of the table.
        table = study.folder.parent / "table.md"
        raise type(error)(
            f"stopped; what is finished is in {table}; to go on: {shlex.join(order.command)}"
        ) from error
    except RunFailed as error:
        if not any(study.finished(study.rows)):
            raise RunFailed(f"{error}; or, for the whole table: {shlex.join(order.command)}") from error


def _write(order: Order, folder: Path, studies: Sequence[_Study]) -> None:
    parts = [study.results() for study in studies]
    configs = {study.part.name: study.config for study in studies}
    if order.rows is not None:
        shown = dict.fromkeys(row.key for study in studies for row in study.shown)
        order = dataclasses.replace(order, rows=tuple(shown))
    title = f"{TABLES[order.table].title} (scale {order.scale})"
    write_text(folder / "table.md", markdown(title, parts, configs, studies[0].seeds, order.command))
    write_text(folder / "table.csv", csv(parts))


def _studies(order: Order) -> list[_Study]:
    """Everything that can be wrong is found here, before anything is run."""
    if order.table not in TABLES:
        raise user_error(f"TABLE: there is no {order.table!r} (known: {', '.join(TABLES)})")
    if order.scale not in get_args(Scale):
        raise user_error(f"--scale {order.scale}: must be one of {', '.join(get_args(Scale))}")
    table = TABLES[order.table]
    placed = [(part, _placed(order, part)) for part in parts_of(order.table, order.scale)]
    rows = [table.rows(config) for _, config in placed]
    known = dict.fromkeys(row.key for some in rows for row in some)
    if unknown := [key for key in order.rows or () if key not in known]:
        raise user_error(f"--rows: there is no {unknown[0]!r} (known: {', '.join(known)})")
    studies = [_study(order, *one, some) for one, some in zip(placed, rows, strict=True)]
    return [study for study in studies if study.rows]


def _study(order: Order, part: Part, config: RunConfig, lines: Sequence[Line]) -> _Study:
    table = TABLES[order.table]
    columns = table.columns(config)
    cells = {case_name(row, column): table.cell(row, column) for row in lines for column in columns}
    study = _Study(
        part=dataclasses.replace(part, note=table.note(config)),
        config=config,
        cells={name: values for name, values in cells.items() if values is not None},
        lines=lines,
        rows=[row for row in lines if order.rows is None or row.key in order.rows],
        columns=columns,
        number_of_seeds=order.seeds,
    )
    if study.rows:
        check_space(study.space(study.rows), prepared(config), order.table)
    return study


def _placed(order: Order, part: Part) -> RunConfig:
    """The base of a part, in its folder, with the cache and MLflow's store of all runs in `output`."""
    config = base_of(part, order.overrides)
    assert config.data is not None
    try:
        read_data(config)
    except UserError as error:
        raise user_error(f"{error}; to get it: {HOW_TO_GET[config.data.source]}") from error
    config = TABLES[order.table].fitted(part, absolute(config))
    output = Path(config.output)
    cache = config.checkpoint.cache or str(output / CACHE)
    return config.model_copy(
        update={
            "output": str(output / (config.name or f"{order.table}-{order.scale}")),
            "name": part.name,
            "checkpoint": config.checkpoint.model_copy(update={"cache": cache}),
        }
    )
