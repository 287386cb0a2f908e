"""A paper's tables without Ray: its trials one after the other in this process."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator import fuse
from orchestrator.config import RunConfig
from orchestrator.progress import Display
from orchestrator.reproducing import Order
from orchestrator.reproducing.layout import Line, Part
from orchestrator.reproducing.overriding import keys_of, overridden
from orchestrator.reproducing.scales import base_of
from orchestrator.reproducing.tables import TABLES
from orchestrator.sweep import driving
from orchestrator.sweep.board import Board
from orchestrator.sweep.points import Point
from orchestrator.sweep.space import with_values
from orchestrator.sweep.study import Study
from orchestrator.sweep.wishes import prepared
from tests.tiny import SHORT_TABLE

Runner = Callable[[Study, Board, int, Display], None]


def stops_after(count: int) -> Runner:
    """Ray Tune's part; Ctrl-C after `count` trials."""

    def run(study: Study, board: Board, total: int, display: Display) -> None:
        done = 0
        for row in board.rows:
            if row["status"] == "finished":
                continue
            if done == count:
                raise KeyboardInterrupt
            point = Point(row["name"], row["parameters"], row["seed"])
            tree = study.config(point.parameters, point.seed, point.name).model_dump(mode="json")
            fuse(tree, console=Console(quiet=True))
            board.set(point, "stopped early")  # What the folder says counts.
            done += 1

    return run


def without_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started, and nothing is placed."""

    @contextlib.contextmanager
    def no_cluster(_: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(driving, "cluster", no_cluster)
    monkeypatch.setattr(driving, "_placed", lambda study, *_: study)


def short_order(folder: Path, *overrides: str, **changes: Any) -> Order:
    """Two rows of Table 2 with one seed, where nothing else is said."""
    chosen = {"table": "dfmf-2", "seeds": 1, "rows": ("dfmf", "dfq_no_adv"), **changes}
    return Order(overrides=(*SHORT_TABLE, f"output={folder}", *overrides), **chosen)


def rows_of(table: str, part: Part, *overrides: str) -> list[Line]:
    """With what the part has for them."""
    config = base_of(part, overrides)
    return [overridden(row, part, config, keys_of(overrides)) for row in TABLES[table].rows(config)]


def made_of(table: str, part: Part, *overrides: str) -> dict[str, RunConfig]:
    """The rows' configurations, in the table's first column."""
    config = base_of(part, overrides)
    column = TABLES[table].columns(config)[0]
    rows = rows_of(table, part, *overrides)
    return {row.key: with_values(prepared(config), {**row.values, **column.values}, row.key) for row in rows}
