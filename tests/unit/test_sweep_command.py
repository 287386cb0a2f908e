"""The command `dfmf sweep` as far as it needs no cluster."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app


@pytest.mark.parametrize(
    "more",
    [
        ["--seeds", "5"],
        ["--samples", "3"],
        ["--search", "grid"],
        ["--scheduler", "none"],
        ["--space", "m_ga"],
        ["schedule.epochs=3"],
    ],
)
def test_going_on_changes_nothing_but_how_many_run_at_once(tmp_path: Path, more: list[str]) -> None:
    said = CliRunner().invoke(app, ["sweep", "--resume", str(tmp_path), *more])
    assert (said.exit_code, said.stderr) == (
        2,
        "--resume: takes the sweep's own configuration, space, seeds, search and scheduler; only "
        "--concurrent may change\n",
    )


def test_going_on_with_what_is_no_sweep_is_a_line(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["sweep", "--resume", str(tmp_path), "--concurrent", "1"])
    assert said.exit_code == 2
    assert said.stderr.startswith(f"{tmp_path}: no sweep (sweep.json: ")


def test_more_seeds_than_a_space_may_have_are_refused() -> None:
    said = CliRunner().invoke(app, ["sweep", "demo", "--space", "m_ga", "--seeds", "1001"])
    assert said.exit_code == 2
    assert "'--seeds'" in said.stderr and "1000" in said.stderr
