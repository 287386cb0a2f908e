"""A table some of whose runs fail, or that cannot be written; without Ray."""

from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from orchestrator import reproducing
from orchestrator.cli import app
from orchestrator.errors import Interrupted, RunFailed, Terminated, UserError
from orchestrator.progress import Display
from orchestrator.reproducing import Order, reproduce
from orchestrator.run_folder import write_text
from orchestrator.sweep import driving
from orchestrator.sweep.board import Board
from orchestrator.sweep.points import Point
from orchestrator.sweep.study import TRIALS, Study
from orchestrator.sweep.trial import ERROR
from tests.paper_tables import Runner, stops_after
from tests.tiny import SHORT_TABLE

QUIET = Console(quiet=True)
pytestmark = pytest.mark.usefixtures("without_ray")


def order(folder: Path, **changes: tuple[str, ...]) -> Order:
    chosen = {"rows": ("dfmf",), "columns": ("r3",), **changes}
    return Order(table="dfmf-4", seeds=1, overrides=(*SHORT_TABLE, f"output={folder}"), **chosen)


def all_fail(study: Study, board: Board, total: int, display: Display) -> None:
    for row in board.rows:
        write_text(study.folder / TRIALS / f"{row['name']}{ERROR}", "numbers exploded")
        board.set(Point(row["name"], row["parameters"], row["seed"]), "running")


def first_fails() -> Runner:
    """Of two studies; the other one's runs are run."""
    runners = iter([all_fail, stops_after(1)])
    return lambda *given: next(runners)(*given)


def test_other_parts_are_run_when_all_runs_of_one_fail_and_the_exit_code_is_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "run_trials", first_fails())
    arguments = ["dfmf-4", "--seeds", "1", "--rows", "dfmf", "--columns", "r3"]
    said = CliRunner().invoke(app, ["reproduce", *arguments, *SHORT_TABLE, f"output={tmp_path}"])
    table = tmp_path / "dfmf-4-digits" / "table.md"
    assert said.exit_code == 1
    assert said.stderr.splitlines()[-1].startswith(
        f"1 run failed: {table}; to try again: dfmf reproduce dfmf-4"
    )
    assert "* DFMF, r3, seed 0: numbers exploded" in table.read_text()
    assert (tmp_path / "dfmf-4-digits/4-parties/trials/dfmf_r3_seed-0/summary.json").exists()
    assert table.read_text() in said.stdout


def test_a_damaged_summary_does_not_hide_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "run_trials", stops_after(1))
    with pytest.raises(Interrupted):
        reproduce(order(tmp_path, columns=("r3", "r10"), parts=("2-parties",)), QUIET)
    summary = tmp_path / "dfmf-4-digits/2-parties/trials/dfmf_r3_seed-0/summary.json"
    summary.write_text('{"status": "finished"}')

    def stop(*_: object, **__: object) -> None:
        raise Terminated("stopped")

    monkeypatch.setattr(driving, "run_space", stop)
    with pytest.raises(Terminated, match=r"^stopped; the table has not been written: .*to go on: dfmf rep"):
        reproduce(order(tmp_path, columns=("r3", "r10"), parts=("2-parties",)), QUIET)
    with pytest.raises(UserError, match=f"^{summary}: is damaged"):
        reproduce(order(tmp_path, parts=("2-parties",)), QUIET)


def test_a_disk_that_does_not_take_the_table_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(driving, "run_trials", stops_after(1))
    monkeypatch.setattr(reproducing, "write_text", full)
    with pytest.raises(RunFailed, match=r"dfmf-4-digits: cannot be written to \(No space left on device\)$"):
        reproduce(order(tmp_path, parts=("2-parties",)), QUIET)


def test_a_stop_before_anything_was_begun_names_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(driving, "_placed", stop)
    with pytest.raises(Interrupted, match=r"^stopped; to go on: dfmf reproduce dfmf-4 "):
        reproduce(order(tmp_path), QUIET)
