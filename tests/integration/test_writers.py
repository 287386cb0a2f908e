"""Several runs at once, in processes of their own, into one store of MLflow that none of them has made
before."""

import sqlite3
from pathlib import Path

import pytest
import yaml

from benchmarks.driver import Driver
from tests.faults.server import Server
from tests.tiny import tiny_run

pytestmark = pytest.mark.slow
WRITERS = 4


def fuse_at_once(folder: Path, **tracking: object) -> None:
    cache = {"cache": str(folder / "cache")}  # What they have in common is not what is tested.
    (folder / "run.yaml").write_text(yaml.safe_dump(tiny_run(tracking=tracking, checkpoint=cache)))
    drivers = [Driver(folder, "run.yaml", f"name=run-{number}") for number in range(WRITERS)]
    for code, output, errors in [driver.end() for driver in drivers]:
        assert code == 0, errors
        assert "does not take" not in output + errors
        assert "locked" not in output + errors


def assert_whole(database: Path) -> None:
    with sqlite3.connect(database) as store:
        statuses = store.execute("SELECT status FROM runs").fetchall()
        steps = store.execute(
            "SELECT run_uuid, step FROM metrics WHERE key = 'eval/accuracy' ORDER BY run_uuid, step"
        ).fetchall()
    assert statuses == [("FINISHED",)] * WRITERS
    assert len(steps) == len(set(steps)) == WRITERS * 2  # Each epoch once.


def test_four_runs_make_and_fill_the_default_database(tmp_path: Path) -> None:
    fuse_at_once(tmp_path)
    assert_whole(tmp_path / "runs/mlflow.db")


def test_four_runs_fill_a_server(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        fuse_at_once(tmp_path, uri=server.uri)
        assert_whole(tmp_path / "mlflow.db")
    finally:
        server.kill()
