"""What sweep.json and MLflow say of a sweep's trials; without Ray."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.errors import RunFailed, UserError
from orchestrator.loading import parse_config
from orchestrator.progress import Display
from orchestrator.sweep import driving, tracking
from orchestrator.sweep.board import Board
from orchestrator.sweep.points import Point
from orchestrator.sweep.space import Space
from orchestrator.sweep.study import Study
from orchestrator.sweep.wishes import Wishes, check_cases, prepared
from tests.paper_tables import without_cluster
from tests.tiny import tiny_run

QUIET = Display(Console(quiet=True))


def study(folder: Path, **changes: Any) -> Study:
    chosen: dict[str, Any] = {
        "folder": folder,
        "space_name": "s",
        "space": Space.model_validate_json('{"parameters": {"schedule.epochs": {"grid": [3, 7]}}}'),
        "base": prepared(parse_config(tiny_run(), "base")),
        "seeds": [0],
        "search": "grid",
        "scheduler": "none",
        "samples": 0,
        "concurrent": 1,
        "plan": None,
        "gpus": 0.0,
        "parent": None,
    }
    return Study(**(chosen | changes))


def finish(folder: Path, name: str) -> None:
    """As a run of an older version."""
    summary = {"status": "finished", "student": {"accuracy": 90.0}, "seconds": 1.0}
    (folder / "trials" / name).mkdir(parents=True)
    (folder / "trials" / name / "summary.json").write_text(json.dumps(summary))


def test_epochs_are_the_trials_own_and_an_older_summary_is_read(tmp_path: Path) -> None:
    finish(tmp_path, "seven")
    board = Board(study(tmp_path), QUIET)
    board.know([Point(name, {"schedule.epochs": epochs}, 0) for name, epochs in (("seven", 7), ("three", 3))])
    assert [(row["status"], row["epoch"]) for row in board.rows] == [("finished", 7), ("waiting", 0)]
    assert board.rows[0]["seconds_to_first_iteration"] is None


def test_progress_counts_each_trials_epochs(tmp_path: Path) -> None:
    shown: list[tuple[str, int, int]] = []

    class Shown(Display):
        def advanced(self, phase: str, done: int, total: int) -> None:
            shown.append((phase, done, total))

    board = Board(study(tmp_path), Shown(Console(quiet=True)))
    for name, epochs in (("seven", 7), ("three", 3)):
        board.set(Point(name, {"schedule.epochs": epochs}, 0), "failed" if epochs == 3 else "running")
    board.progressed(3)
    assert shown == [("sweep", 3, 7 + 3 + 2)]  # A third one is not known yet; the base has two epochs.


def test_a_sweep_none_of_whose_trials_is_finished_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_cluster(monkeypatch)

    def fail(study: Study, board: Board, *_: object) -> None:
        for row in board.rows:
            board.set(Point(row["name"], row["parameters"], row["seed"]), "failed", "its process died")

    monkeypatch.setattr(driving, "run_trials", fail)
    config = parse_config(tiny_run(name="s", output=str(tmp_path), tracking={"enabled": False}), "run")
    space = Space(cases={"one": {"schedule.m_ga": 1}}, seeds=1)
    with pytest.raises(RunFailed):
        driving.run_space(config, space, Wishes(space="s"), "s", Console(quiet=True))
    assert json.loads((tmp_path / "s" / "sweep.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("expected", ["FAILED", "FINISHED"])
def test_mlflow_is_told_whether_any_trial_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: str
) -> None:
    told: list[str] = []

    class Store:
        def __init__(self, *_: object) -> None:
            pass

        def log_metrics(self, *_: object) -> None:
            pass

        def log_file(self, *_: object) -> None:
            pass

        def set_status(self, status: str) -> None:
            told.append(status)

    monkeypatch.setattr(tracking, "MlflowRun", Store)
    some = study(tmp_path, parent="run")
    board = Board(some, QUIET)
    if expected == "FINISHED":
        finish(tmp_path, "one")
    board.set(Point("one", {}, 0), "failed")
    with tracking.finished(some, board, print):
        pass
    assert told == [expected]


@pytest.mark.parametrize("scheduler", ["asha", "pbt"])
def test_epochs_are_not_varied_where_trials_are_compared_after_one(tmp_path: Path, scheduler: Any) -> None:
    with pytest.raises(UserError, match=r"^--scheduler .*, so schedule.epochs must not be varied .space s.$"):
        check_cases(Wishes(space="s", scheduler=scheduler), study(tmp_path).space)
