"""A sweep of tiny runs as a user starts it, and what it leaves."""

import json
from pathlib import Path
from typing import Any

import yaml

from benchmarks.driver import Driver
from tests.tiny import tiny_run

SPACE = {"parameters": {"schedule.m_ga": {"label": "M_GA", "grid": [1, 3]}}, "seeds": 2}


def files(folder: Path, space: dict[str, Any] = SPACE, **changes: Any) -> None:
    (folder / "run.yaml").write_text(yaml.safe_dump(tiny_run(**{"name": "sweep", **changes})))
    (folder / "space.yaml").write_text(yaml.safe_dump(space))


def sweep(folder: Path, *arguments: str) -> Driver:
    return Driver(folder, "run.yaml", "--space", "space.yaml", *arguments, command="sweep")


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    board = folder / "runs/sweep/sweep.json"
    return {one["name"]: one for one in json.loads(board.read_text())["trials"]} if board.exists() else {}
