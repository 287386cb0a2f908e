"""A paper's tables without Ray: its trials one after the other in this process."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from orchestrator import fuse
from orchestrator.progress import Display
from orchestrator.sweep import driving
from orchestrator.sweep.board import Board
from orchestrator.sweep.points import Point
from orchestrator.sweep.study import Study

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
