"""Sweeps as a user starts them: what they leave, what they share, and what a kill of the driver costs."""

import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from benchmarks.driver import Driver
from orchestrator import fuse
from tests.tiny import tiny_run

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SPACE = {"parameters": {"schedule.m_ga": {"label": "M_GA", "grid": [1, 3]}}, "seeds": 2}


def files(folder: Path, space: dict[str, Any] = SPACE, **changes: Any) -> None:
    (folder / "run.yaml").write_text(yaml.safe_dump(tiny_run(**{"name": "sweep", **changes})))
    (folder / "space.yaml").write_text(yaml.safe_dump(space))


def sweep(folder: Path, *arguments: str) -> Driver:
    return Driver(folder, "run.yaml", "--space", "space.yaml", *arguments, command="sweep")


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    board = folder / "runs/sweep/sweep.json"
    return {one["name"]: one for one in json.loads(board.read_text())["trials"]} if board.exists() else {}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four trials on Ray, two of which cannot end well: their generators explode."""
    folder = tmp_path_factory.mktemp("sweep")
    m_ga = {"label": "M_GA", "grid": [1, 3]}
    space = {
        "parameters": {"optimisation.generator_lr": {"grid": [0.001, 1e30]}, "schedule.m_ga": m_ga},
        "seeds": 1,
    }
    schedule = {**tiny_run()["schedule"], "m_ga": 3}  # type: ignore[dict-item]
    files(folder, space, engine={"mode": "ray"}, schedule=schedule)
    code, output, errors = sweep(folder).end(seconds=900)
    assert code == 1, errors
    assert "left out" in output
    assert "difference to m_ga=3, generator_lr=0.001" in output  # What the configuration itself says.
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
    name = next(
        name for name, one in rows(finished).items() if one["status"] == "finished" and "M_GA-3" in name
    )
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
        swept = store.execute("SELECT value FROM params WHERE key = 'schedule.m_ga'").fetchall()
        epochs = store.execute("SELECT run_uuid FROM metrics WHERE key = 'eval/accuracy'").fetchall()
    assert kinds == {parent: "sweep"}
    assert len(children) == 4
    assert {value for (value,) in swept} == {"1", "3"}
    assert {run for (run,) in epochs} <= {run for (run,) in children}


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
    files(tmp_path, engine={"mode": "local"}, schedule={**tiny_run()["schedule"], "epochs": 200})  # type: ignore[dict-item]
    driver = sweep(tmp_path)
    driver.wait_until(lambda: any(one["epoch"] > 0 for one in rows(tmp_path).values()))
    code, _, errors = driver.end(signal.SIGINT)
    assert code == 130
    assert "to go on: dfmf sweep --resume" in errors
    kept = list((tmp_path / "runs/sweep/trials").glob("*/checkpoints/checkpoint-*/MANIFEST.json"))
    assert kept


def test_asha_stops_poor_trials_early(tmp_path: Path) -> None:
    space = {"parameters": {"optimisation.student_lr": {"grid": [0.05, 0.03, 1e-7, 1e-8]}}, "seeds": 1}
    files(tmp_path, space, schedule={**tiny_run()["schedule"], "epochs": 8})  # type: ignore[dict-item]
    driver = sweep(tmp_path, "--scheduler", "asha")
    code, _, errors = driver.end(seconds=900)
    assert code == 0, errors
    states = {one["parameters"]["optimisation.student_lr"]: one["status"] for one in rows(tmp_path).values()}
    assert set(states.values()) == {"finished", "stopped early"}
    assert "finished" in (states[0.05], states[0.03])
    assert states[1e-7] == states[1e-8] == "stopped early"


def test_optuna_draws_points_and_gives_each_to_all_seeds_also_after_a_kill(tmp_path: Path) -> None:
    space = {"parameters": {"method.alpha": {"grid": [0.1], "range": [0.01, 1], "scale": "log"}}, "seeds": 2}
    files(tmp_path, space)
    driver = sweep(tmp_path, "--search", "optuna", "--samples", "2")
    driver.wait_until(lambda: any(one["status"] == "finished" for one in rows(tmp_path).values()))
    driver.end(signal.SIGKILL)
    drawn = {name: one["parameters"] for name, one in rows(tmp_path).items()}
    code, _, errors = Driver(tmp_path, "--resume", str(tmp_path / "runs/sweep"), command="sweep").end(
        seconds=900
    )
    assert code == 0, errors
    assert {one["status"] for one in rows(tmp_path).values()} == {"finished"}
    assert {name: one["parameters"] for name, one in rows(tmp_path).items() if name in drawn} == drawn
    values = [(one["parameters"]["method.alpha"], one["seed"]) for one in rows(tmp_path).values()]
    assert len(values) == 4
    assert len({alpha for alpha, _ in values}) == 2
    assert all(0.01 <= alpha <= 1 for alpha, _ in values)


def test_members_of_a_population_go_on_from_each_others_state(tmp_path: Path) -> None:
    space = {
        "parameters": {
            "optimisation.student_lr": {"grid": [0.05, 1e-7], "range": [1e-8, 0.1], "scale": "log"}
        }
    }
    files(tmp_path, space, schedule={**tiny_run()["schedule"], "epochs": 10})  # type: ignore[dict-item]
    driver = sweep(tmp_path, "--scheduler", "pbt")
    code, _, errors = driver.end(seconds=900)
    assert code == 0, errors
    trials = rows(tmp_path)
    assert set(trials) == {"member-0", "member-1"}
    assert {one["status"] for one in trials.values()} == {"finished"}
    logs = [(tmp_path / f"runs/sweep/trials/{name}.log").read_text() for name in trials]
    assert any("going on from iteration" in log for log in logs)
