"""Runs become groups, means, paired intervals and curves."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.comparison import as_json, collect, compare
from orchestrator.comparison.curves import accuracy_plot, adversarial_plot
from orchestrator.comparison.sensitivity import curves, sensitivity_plots
from orchestrator.comparison.statistics import paired_difference, spread
from orchestrator.errors import UserError
from tests.fused import trial, write_run, write_sweep

M_GA = {(1, 0): 90.0, (1, 1): 92.0, (1, 2): 97.0, (5, 0): 91.0, (5, 1): 95.0, (5, 2): 96.0}
FAILED = trial("failed", 0, {"schedule.m_ga": 2}, "failed", "out of memory")


def test_mean_deviation_and_interval_are_those_worked_by_hand() -> None:
    # 90, 92, 97: mean 93, squares 9 + 1 + 16 over 2. Differences -1, -3, 1: mean -1, deviation 2;
    # the 97.5 % quantile of Student's t with 2 degrees of freedom is 4.302653 in every table.
    one = spread([90.0, 92.0, 97.0])
    assert one is not None and one.mean == 93.0
    assert one.deviation == pytest.approx(13**0.5)
    found = paired_difference({0: 90.0, 1: 92.0, 2: 97.0, 7: 1.0}, {2: 96.0, 0: 91.0, 1: 95.0, 8: 2.0})
    assert found is not None and (found.mean, found.count) == (-1.0, 3)
    half = 4.302653 * 2 / 3**0.5
    assert (found.low, found.high) == pytest.approx((-1 - half, -1 + half), abs=1e-5)


def test_a_single_seed_has_no_deviation_and_no_interval() -> None:
    one = spread([90.0])
    assert one is not None and one.deviation is None
    assert paired_difference({0: 1.0, 1: 2.0}, {1: 2.0, 2: 3.0}) is None
    assert spread([]) is None


def test_a_sweep_is_compared_with_its_own_configuration(tmp_path: Path) -> None:
    numbers = as_json(compare(collect([write_sweep(tmp_path / "s", M_GA, FAILED)])))
    assert numbers["reference"] == "m_ga=5"
    first, none, last = numbers["groups"]
    assert [one["label"] for one in numbers["groups"]] == ["m_ga=1", "m_ga=2", "m_ga=5"]
    assert first["score"] == pytest.approx({"mean": 93.0, "deviation": 13**0.5, "count": 3})
    assert first["difference"]["mean"] == -1.0 and last["difference"] is None
    assert first["best_teacher"]["mean"] == 81.0  # 80, 81 and 82 with seeds 0, 1 and 2
    assert none["score"] is None and none["unfinished"] == 1
    assert numbers["left_out"] == [{"name": "failed", "status": "failed", "reason": "out of memory"}]


def test_a_failed_trial_is_of_the_group_of_its_value_however_the_number_is_written(tmp_path: Path) -> None:
    failed = trial("failed", 1, {"method.tau": 4}, "failed", "out of memory")
    folder = write_sweep(tmp_path / "s", {(4.0, 0): 90.0}, failed, key="method.tau", base="method.tau=3")
    (group,) = compare(collect([folder])).groups
    assert len(group.runs) == len(group.others) == 1


def test_a_trial_that_has_not_begun_is_of_the_group_of_its_method(tmp_path: Path) -> None:
    case = {"method.name": "dfq", "schedule.warmup_epochs": 0}
    waiting = trial("dfq_seed-1", 1, case, "waiting")
    folder = write_sweep(tmp_path / "s", {("dfmf", 0): 90.0}, waiting, key="method.name", base="seed=0")
    write_run(tmp_path / "dfq", "method={name: dfq}", "schedule.warmup_epochs=0", accuracy=80.0)
    groups = compare(collect([folder, tmp_path / "dfq"])).groups
    assert [(len(group.runs), len(group.others)) for group in groups] == [(1, 0), (1, 1)]


def test_seeds_and_places_do_not_make_a_group_and_a_repeated_run_counts_once(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / "a", seed=0, accuracy=90.0),
        write_run(tmp_path / "b", "engine.prefetch=3", "tracking.enabled=false", seed=1, accuracy=94.0),
        write_run(tmp_path / "again", "output=elsewhere", seed=0, accuracy=10.0),
    ]
    compared = compare(collect([*folders, tmp_path / "." / "a"]))
    (group,) = compared.groups
    assert [run.name for run in group.runs] == ["a", "b"] and group.label == "all runs"
    (row,) = compared.rows
    assert row.score is not None and row.score.mean == 92.0
    assert "repeats the configuration and the seed" in compared.notes[0]


def test_what_runs_were_made_with_is_said_where_it_differs(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / str(seed), seed=seed, accuracy=90.0 + seed) for seed in range(3)]
    assert compare(collect(folders)).notes == []
    one = {"processor": "Xeon\x1b[2J", "gpus": [], "packages": {"torch": "2.10"}, "git_commit": "12ab"}
    other = {**one, "gpus": ["H200", "H200"], "packages": {"torch": "2.11"}, "git_commit": None}
    for folder, about in zip(folders, (one, one, other), strict=True):
        (folder / "environment.json").write_text(json.dumps(about))
    start = "runs differ in {}, which may be a part of any difference: "
    assert compare(collect(folders)).notes == [
        start.format("commit") + "12ab (2 of 3 runs), none (1 of 3 runs)",
        start.format("GPUs") + "none (2 of 3 runs), H200, H200 (1 of 3 runs)",
        start.format("torch") + "2.10 (2 of 3 runs), 2.11 (1 of 3 runs)",
    ]
    (folders[2] / "environment.json").unlink()
    notes = compare(collect(folders)).notes
    assert start.format("processor") + "Xeon\\x1b[2J (2 of 3 runs), unknown (1 of 3 runs)" in notes


def test_groups_are_called_after_the_ends_of_keys_unless_these_are_alike(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", "method.tau=2"),
        write_run(tmp_path / "b", "optimisation.momentum=0.8", "pretrain.recipe.momentum=0.7"),
    ]
    assert [group.label for group in compare(collect(runs)).groups] == [
        "pretrain.recipe.momentum=0.7, tau=3, optimisation.momentum=0.8",
        "pretrain.recipe.momentum=0.9, tau=2, optimisation.momentum=0.9",
    ]


def test_the_reference_can_be_chosen_and_must_exist(tmp_path: Path) -> None:
    runs = collect([write_sweep(tmp_path / "s", M_GA, FAILED)])
    assert compare(runs, "m_ga=1").reference.label == "m_ga=1"
    for wrong in ("m_ga=2", "nonsense"):  # The first has no finished run.
        with pytest.raises(UserError, match=r"no group with a finished run \(those are: m_ga=1; m_ga=5\)"):
            compare(runs, wrong)


def test_without_test_images_the_agreement_is_compared_and_this_is_said(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(a), seed=a, accuracy=None, agreement=70.0 + a) for a in (0, 2)]
    compared = compare(collect(runs))
    assert compared.measure == "agreement"
    assert compared.rows[0].score is not None and compared.rows[0].score.mean == 71.0
    assert "without test images" in compared.notes[0] and "synthetic images" in compared.notes[0]


def test_a_full_grid_is_averaged_within_each_seed(tmp_path: Path) -> None:
    scores = {(1, 3): 80.0, (1, 5): 84.0, (2, 3): 90.0, (2, 5): 96.0}
    runs = [
        write_run(tmp_path / f"{m}-{t}-{s}", f"schedule.m_ga={m}", f"method.tau={t}", seed=s, accuracy=y + s)
        for (m, t), y in scores.items()
        for s in (0, 1)
    ]
    compared = compare(collect(runs))
    (curve,) = curves(compared, "schedule.m_ga")
    assert curve.points == {1: {0: 82.0, 1: 83.0}, 2: {0: 93.0, 1: 94.0}}
    assert "Averaged over tau" in curve.how
    assert {plot.name for plot in sensitivity_plots(compared)} == {
        "sensitivity-schedule.m_ga",
        "sensitivity-method.tau",
    }


def test_one_at_a_time_holds_the_others_at_the_base(tmp_path: Path) -> None:
    changes = {"schedule.m_ga=1": 80.0, "schedule.m_ga=5": 90.0, "method.tau=9": 70.0}
    runs = [write_run(tmp_path / name, name, accuracy=y) for name, y in changes.items()]
    compared = compare(collect(runs))
    (curve,) = curves(compared, "schedule.m_ga")
    assert curve.points == {1: {0: 80.0}, 5: {0: 90.0}}  # Without the 70 at tau = 9.
    assert curve.how == "Only runs with tau=3."


def test_trials_that_differ_in_everything_have_no_mean(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", "schedule.m_ga=1", "method.tau=2"),
        write_run(tmp_path / "b", "schedule.m_ga=2", "method.tau=4"),
    ]
    compared = compare(collect(runs))
    (curve,) = curves(compared, "schedule.m_ga")
    assert not curve.means and "no mean" in curve.how
    assert sensitivity_plots(compared) == []  # Two runs that just differ are no sweep.


def test_curves_are_means_over_parties_and_seeds_without_the_warm_up(tmp_path: Path) -> None:
    compared = compare(collect([write_sweep(tmp_path / "s", M_GA)]))
    accuracy, adversarial = accuracy_plot(compared), adversarial_plot(compared)
    assert accuracy is not None and adversarial is not None
    assert list(accuracy.rows[0][:3]) == ["m_ga=1", 1, 83.0]  # The end is 93.
    rows = {(row[0], row[1], row[2]): row[3] for row in adversarial.rows}
    assert rows["teacher-GA", "m_ga=1", 2] == pytest.approx(-0.2)  # -0.1 and -0.3
    assert rows["teacher-student", "m_ga=5", 2] == pytest.approx(-0.95)  # -0.5 and -1.4


def test_the_table_names_failed_trials_and_their_reasons(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "s", M_GA, {**FAILED, "reason": "[red]no[/red] \x1b[2Jmemory"})
    result = CliRunner().invoke(app, ["compare", str(folder), "--json", str(tmp_path / "n.json")])
    assert result.exit_code == 0, result.output
    assert "93.00 ± 3.61" in result.output and "-1.00 [-5.97, 3.97]" in result.output
    assert "0/1" in result.output and "[red]no[/red] \\x1b[2Jmemory" in result.output
    assert "1 of 7 runs" in result.output
    assert json.loads((tmp_path / "n.json").read_text())["reference"] == "m_ga=5"
