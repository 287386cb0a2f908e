"""Where the numbers of a comparison come from."""

import dataclasses
import json
from pathlib import Path

import pytest

from orchestrator.comparison import as_json, collect, compare
from orchestrator.comparison.curves import accuracy_plot
from orchestrator.comparison.scores import _scaled, cost_plot
from orchestrator.comparison.sensitivity import curves
from orchestrator.comparison.table import numbers, run_numbers
from tests.fused import write_run


def test_a_group_has_the_ensemble_the_gap_and_the_seconds_of_the_main_phase(tmp_path: Path) -> None:
    runs = [
        write_run(
            tmp_path / f"{m}-{seed}",
            f"schedule.m_ga={m}",
            seed=seed,
            accuracy=85.0 + m * seed,
            seconds_to_first_iteration=20.0,
        )
        for m in (1, 2)
        for seed in (0, 2)
    ]
    compared = compare(collect(runs))
    _, second = as_json(compared)["groups"]
    assert [second[name]["mean"] for name in ("ensemble", "gap_closed", "seconds")] == [95.0, 50.0, 41.0]
    assert cost_plot(compared).rows[1] == ["m_ga=1", 2, 42.0, 87.0]
    row = dict(zip(numbers(compared)[0], numbers(compared)[1][1], strict=True))
    assert row["difference_low"] < row["difference_mean"] < row["difference_high"]


def test_teachers_of_which_one_is_not_measured_have_no_best(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    summary = json.loads((folder / "summary.json").read_text())
    summary["teachers"][0]["accuracy"] = None
    (folder / "summary.json").write_text(json.dumps(summary))
    assert compare(collect([folder])).rows[0].best_teacher is None


def test_an_epoch_counts_where_all_seeds_have_it_and_checkpoints_make_no_group(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", seed=0), write_run(tmp_path / "b", "checkpoint.keep=9", seed=1)]
    first, second = collect(runs)
    plot = accuracy_plot(compare([first, dataclasses.replace(second, epochs=second.epochs[:-1])]))
    assert plot is not None
    assert [(row[0], row[1], row[4]) for row in plot.rows] == [("all runs", 1, 2)]


def test_a_repeated_run_is_called_so(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in "ab"]
    _, rows = run_numbers(compare(collect(runs)))
    assert [row[4] for row in rows] == ["finished", "repeated"]


def test_other_ways_to_compute_explain_other_teachers(tmp_path: Path) -> None:
    for override in ("compute.precision=bfloat16", "engine.threads=3"):
        one = write_run(tmp_path / override / "a")
        other = write_run(tmp_path / override / "b", override, hashes=("c", "d"))
        assert compare(collect([one, other])).counted


def test_parameters_are_held_at_the_sweeps_base_though_more_runs_have_another(tmp_path: Path) -> None:
    points = {(1, 3): 80.0, (5, 3): 90.0, (1, 9): 70.0, (2, 9): 71.0, (5, 9): 72.0}
    runs = [
        write_run(tmp_path / f"{m}-{t}", f"schedule.m_ga={m}", f"method.tau={t}", accuracy=y)
        for (m, t), y in points.items()
    ]
    compared = compare(collect(runs), "tau=3, m_ga=1")
    (curve,) = curves(compared, "schedule.m_ga")
    assert curve.points == {1: {0: 80.0}, 5: {0: 90.0}}


def test_an_axis_is_logarithmic_where_it_is_said() -> None:
    assert _scaled([1, 10, 100], True, 6)[0] == pytest.approx([0, 0.5, 1])
    assert _scaled([1, 10, 100], False, 6)[0] == pytest.approx([0, 9 / 99, 1])
