"""Sweeps that choose for themselves what to run and for how long: ASHA, Optuna, and a population."""

import signal
from pathlib import Path

import pytest

from benchmarks.driver import Driver
from tests.swept import files, rows, sweep
from tests.tiny import tiny_run

pytestmark = [pytest.mark.ray, pytest.mark.slow]

OFF = {"enabled": False}


def test_asha_stops_poor_trials_early(tmp_path: Path) -> None:
    space = {"parameters": {"optimisation.student_lr": {"grid": [0.05, 0.03, 1e-7, 1e-8]}}, "seeds": 1}
    files(tmp_path, space, schedule={**tiny_run()["schedule"], "epochs": 8}, tracking=OFF)  # type: ignore[dict-item]
    driver = sweep(tmp_path, "--scheduler", "asha")
    code, _, errors = driver.end(seconds=900)
    assert code == 0, errors
    states = {one["parameters"]["optimisation.student_lr"]: one["status"] for one in rows(tmp_path).values()}
    assert set(states.values()) == {"finished", "stopped early"}
    assert "finished" in (states[0.05], states[0.03])
    assert states[1e-7] == states[1e-8] == "stopped early"


def test_optuna_draws_points_and_gives_each_to_all_seeds_also_after_a_kill(tmp_path: Path) -> None:
    space = {"parameters": {"method.alpha": {"grid": [0.1], "range": [0.01, 1], "scale": "log"}}, "seeds": 2}
    files(tmp_path, space, tracking=OFF)
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
    """Also where they take turns: three members on two CPUs."""
    learning_rates = [0.05, 1e-7, 1e-8]
    space = {
        "parameters": {
            "optimisation.student_lr": {"grid": learning_rates, "range": [1e-9, 0.1], "scale": "log"}
        }
    }
    schedule = {**tiny_run()["schedule"], "epochs": 4}  # type: ignore[dict-item]
    files(tmp_path, space, schedule=schedule)
    driver = sweep(tmp_path, "--scheduler", "pbt")
    code, _, errors = driver.end(seconds=900)
    assert code == 0, errors
    trials = rows(tmp_path)
    assert set(trials) == {"member-0", "member-1", "member-2"}
    assert {one["status"] for one in trials.values()} == {"finished"}
    logs = [(tmp_path / f"runs/sweep/trials/{name}.log").read_text() for name in trials]
    assert all("going on from iteration" in log for log in logs), "all had to wait for others"
    ended_with = [one["parameters"]["optimisation.student_lr"] for one in trials.values()]
    assert max(learning_rates[1:]) < max(one for one in ended_with if one != 0.05)
