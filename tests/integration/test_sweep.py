"""Sweeps as a user starts them: what they leave, what they share, and what a kill of the driver costs."""

import json
import signal
import sqlite3
from pathlib import Path

import pytest
from safetensors.torch import load_file

from benchmarks.driver import Driver
from orchestrator import fuse
from tests.swept import files, rows, sweep
from tests.tiny import tiny_run
from tests.tracked import other_schema

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four trials on Ray with two seeds, two of which cannot end well: their generators explode. One process
    has one after the other, so its actors are those of the trial before, or give way to a pretraining."""
    folder = tmp_path_factory.mktemp("sweep")
    space = {"parameters": {"optimisation.generator_lr": {"grid": [0.001, 1e30]}}, "seeds": 2}
    files(folder, space, engine={"mode": "ray"})
    code, output, errors = sweep(folder, "--concurrent", "1").end(seconds=900)
    assert code == 1, errors
    assert "left out" in output
    assert "difference to generator_lr=0.001" in output  # What the configuration itself says.
    return folder


def test_a_trial_that_fails_is_in_the_table_and_the_others_finish(finished: Path) -> None:
    trials = rows(finished)
    assert len(trials) == 4
    failed = {name for name, one in trials.items() if one["status"] == "failed"}
    assert failed == {
        name for name, one in trials.items() if one["parameters"]["optimisation.generator_lr"] > 1
    }
    for name, one in trials.items():
        if name in failed:
            assert "party-0" in one["reason"] or "party-1" in one["reason"]
        else:
            assert (one["status"], one["epoch"]) == ("finished", 2)
            assert one["objective"] > 0
            assert 0 < one["seconds_to_first_iteration"] < one["seconds"]


def test_a_trial_has_the_bits_of_a_run_of_its_own(finished: Path, tmp_path: Path) -> None:
    (name,) = [
        name for name, one in rows(finished).items() if one["status"] == "finished" and one["seed"] == 1
    ]
    trial = finished / "runs/sweep/trials" / name
    alone = fuse(
        str(trial / "config.yaml"),
        *("name=alone", f"output={tmp_path}", "engine.mode=local", "checkpoint.cache=null"),
        "tracking.enabled=false",
    )
    for part in ("student", "parties/party-1/generator"):
        mine, theirs = (load_file(one / f"{part}.safetensors") for one in (trial, alone.folder))
        assert all(mine[key].equal(theirs[key]) for key in mine)


def test_mlflow_has_the_sweep_and_under_it_every_trial(finished: Path) -> None:
    parent = json.loads((finished / "runs/sweep/sweep.json").read_text())["mlflow_run_id"]
    with sqlite3.connect(finished / "runs/mlflow.db") as store:
        kinds = dict(store.execute("SELECT run_uuid, value FROM tags WHERE key = 'dfmf.kind'").fetchall())
        children = store.execute(
            "SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId' AND value = ?", (parent,)
        ).fetchall()
        swept = store.execute("SELECT value FROM params WHERE key = 'optimisation.generator_lr'").fetchall()
        epochs = store.execute("SELECT run_uuid FROM metrics WHERE key = 'eval/accuracy'").fetchall()
    assert kinds == {parent: "sweep"}
    assert len(children) == 4
    assert sorted(float(value) for (value,) in swept) == [0.001, 0.001, 1e30, 1e30]
    assert {run for (run,) in epochs} <= {run for (run,) in children}


def test_a_store_of_another_schema_is_a_line_and_leaves_nothing(finished: Path, tmp_path: Path) -> None:
    copy = other_schema(finished / "runs/mlflow.db", tmp_path)
    files(tmp_path, tracking={"uri": f"sqlite:///{copy}"})
    code, _, errors = sweep(tmp_path).end()
    assert code == 2
    assert errors.startswith(f"tracking.uri: sqlite:///{copy} has another schema than the MLflow here (found")
    assert errors.count("\n") == 1
    assert not (tmp_path / "runs/sweep").exists()


def test_a_sweep_whose_driver_is_killed_goes_on_and_runs_nothing_twice(tmp_path: Path) -> None:
    files(tmp_path, engine={"mode": "local"})
    driver = sweep(tmp_path)
    driver.wait_until(lambda: any(one["status"] == "finished" for one in rows(tmp_path).values()))
    driver.end(signal.SIGKILL)
    folder = tmp_path / "runs/sweep"
    over = {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/summary.json")}
    over = {path: when for path, when in over.items() if json.loads(path.read_text())["status"] == "finished"}
    assert 0 < len(over) < 4
    again = Driver(tmp_path, "--resume", str(folder), command="sweep")
    code, _, errors = again.end(seconds=900)
    assert code == 0, errors
    assert {one["status"] for one in rows(tmp_path).values()} == {"finished"}
    assert len(rows(tmp_path)) == 4
    assert {path: path.stat().st_mtime_ns for path in over} == over
    assert len(list((tmp_path / "runs/cache/warm-up").iterdir())) == 2  # One a seed.
    assert not (folder / "tune").exists()


def test_ctrl_c_keeps_what_trials_have(tmp_path: Path) -> None:
    schedule = {**tiny_run()["schedule"], "epochs": 200}  # type: ignore[dict-item]
    files(tmp_path, engine={"mode": "local"}, schedule=schedule, tracking={"enabled": False})
    driver = sweep(tmp_path)
    driver.wait_until(lambda: any(one["epoch"] > 0 for one in rows(tmp_path).values()))
    code, _, errors = driver.end(signal.SIGINT)
    assert code == 130
    assert "to go on: dfmf sweep --resume" in errors
    kept = list((tmp_path / "runs/sweep/trials").glob("*/checkpoints/checkpoint-*/MANIFEST.json"))
    assert kept
