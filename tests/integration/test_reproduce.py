"""A paper's table as a user starts it, on Ray Tune; stopped, and gone on with by the same command."""

import signal
from pathlib import Path

import pytest

from benchmarks.driver import Driver
from tests.tiny import SHORT_TABLE

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_table_that_is_stopped_goes_on_and_runs_nothing_twice(tmp_path: Path) -> None:
    arguments = ("dfmf-2", "--rows", "dfmf,zskt", "--seeds", "1", "--concurrent", "1", *SHORT_TABLE)
    folder = tmp_path / "runs/dfmf-2-digits"
    driver = Driver(tmp_path, *arguments, command="reproduce")
    driver.wait_until(lambda: any(folder.glob("digits/trials/*/summary.json")))
    code, _, errors = driver.end(signal.SIGINT)
    assert code == 130, errors
    assert (
        f"stopped; what is finished is in {folder / 'table.md'}; to go on: dfmf reproduce dfmf-2 " in errors
    )
    over = {path: path.stat().st_mtime_ns for path in folder.glob("digits/trials/*/MODEL_CARD.md")}
    assert 0 < len(over) < 4
    assert "the command above goes on" in (folder / "table.md").read_text()

    code, output, errors = Driver(tmp_path, *arguments, command="reproduce").end(seconds=900)
    assert code == 0, errors
    assert {path: path.stat().st_mtime_ns for path in over} == over
    assert len(list(folder.glob("digits/trials/*/MODEL_CARD.md"))) == 4
    assert "| ZSKT |" in output
    assert "still to do" not in output
