"""A paper's tables: what they run, at which settings, and what is written; without Ray."""

import csv
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fusion.methods import METHODS
from orchestrator.config import RunConfig
from orchestrator.environment import git_commit, processor
from orchestrator.errors import Interrupted, UserError
from orchestrator.reproducing import Reproduced, checking, reproduce
from orchestrator.reproducing.scales import base_of
from orchestrator.reproducing.tables import all_methods, parts_of
from orchestrator.sweep import driving
from tests.paper_tables import short_order, stops_after


def test_a_table_is_run_goes_on_after_a_stop_and_is_written_beside_the_published_one(
    tmp_path: Path, without_ray: pytest.MonkeyPatch
) -> None:
    asked = short_order(tmp_path)
    quiet = Console(quiet=True)
    without_ray.setattr(driving, "run_trials", stops_after(3))
    with pytest.raises(Interrupted):
        reproduce(asked, quiet)
    folder = tmp_path / "dfmf-2-digits"
    assert "Runs still to do: 1; the command above goes on." in (folder / "table.md").read_text()
    trials = folder / "digits" / "trials"
    over = {path: path.stat().st_mtime_ns for path in trials.glob("*/summary.json")}
    assert sorted(path.parent.name for path in over) == [
        "dfmf_balanced_seed-0",
        "dfmf_r3_seed-0",
        "dfq_no_adv_balanced_seed-0",
    ]

    without_ray.setattr(driving, "run_trials", stops_after(1))  # No more than the one that is left.
    assert reproduce(asked, quiet) == Reproduced(folder=folder, failed=0)
    assert {path: path.stat().st_mtime_ns for path in over} == over
    without_ray.setattr(driving, "run_trials", stops_after(0))  # Nothing is left.
    reproduce(asked, quiet)

    def summary(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((trials / name / "summary.json").read_text())
        return found

    lines = {
        (one["row"], one["column"]): one
        for one in csv.DictReader((folder / "table.csv").open(encoding="utf-8"))
    }
    student = summary("dfq_no_adv_r3_seed-0")
    assert float(lines["dfq_no_adv", "r3"]["accuracy_mean"]) == student["student"]["accuracy"]
    assert lines["dfq_no_adv", "r3"]["published"] == "91.81 ± 0.09"
    assert lines["dfq_no_adv", "r3"]["accuracy_sd"] == ""  # Of one seed there is none.
    assert float(lines["teachers_1", "r3"]["accuracy_mean"]) == student["teachers"][1]["accuracy"]
    assert float(lines["teacher_ensemble", "r3"]["accuracy_mean"]) == student["ensemble"]["accuracy"]
    assert lines["cmi", "r3"]["published"] == "91.74 ± 0.11"
    assert lines["cmi", "r3"]["accuracy_mean"] == ""

    page = (folder / "table.md").read_text()
    accuracies = [
        f"{summary(f'dfmf_{split}_seed-0')['student']['accuracy']:.2f}" for split in ("balanced", "r3")
    ]
    row = next(line for line in page.splitlines() if line.startswith("| DFMF |"))
    cells = [cell.strip() for cell in row.split("|")]
    assert [cells[2], cells[3], cells[5], cells[6]] == [
        accuracies[0],
        "93.10 ± 0.11",
        accuracies[1],
        "92.27 ± 0.19",
    ]
    assert "dfmf reproduce dfmf-2 --scale digits --seeds 1 --rows dfmf,dfq_no_adv" in page
    assert "still to do" not in page
    assert f" s of runs in all, on {os.cpu_count()} CPUs ({processor()}); " in page
    assert f"; dfmf {git_commit() or version('dfmf')}.\n" in page
    # Teachers are those of a split, whatever the method; so are generators after a warm-up of one length.
    assert len(list((tmp_path / "cache" / "teachers").iterdir())) == 2

    # What was finished stays in the table when other rows are asked for.
    with pytest.raises(Interrupted):
        reproduce(short_order(tmp_path, rows=("zskt",)), quiet)
    page = (folder / "table.md").read_text()
    assert row in page.splitlines()
    assert "dfmf reproduce dfmf-2 --scale digits --seeds 1 --rows dfmf,dfq_no_adv,zskt" in page
    assert "Runs still to do: 2; the command above goes on." in page


def test_a_table_of_other_settings_is_not_gone_on_with(
    tmp_path: Path, without_ray: pytest.MonkeyPatch
) -> None:
    without_ray.setattr(driving, "run_trials", stops_after(0))
    with pytest.raises(Interrupted):
        reproduce(short_order(tmp_path), Console(quiet=True))
    table = tmp_path / "dfmf-2-digits" / "table.md"
    written = table.read_text()
    with pytest.raises(
        UserError, match=r"is of another configuration: schedule.m_s: 1 there, 2 here; choose"
    ):
        reproduce(short_order(tmp_path, "schedule.m_s=2"), Console(quiet=True))
    assert table.read_text() == written


def test_a_finished_table_is_not_written_anew_with_other_settings(
    tmp_path: Path, without_ray: pytest.MonkeyPatch
) -> None:
    asked = {"rows": ("zskt",), "columns": ("r3",)}
    without_ray.setattr(driving, "run_trials", stops_after(1))
    table = reproduce(short_order(tmp_path, **asked), Console(quiet=True)).folder / "table.md"
    written = table.read_text()
    with pytest.raises(UserError, match=r"is of another configuration: schedule.m_s: 1 there, 2 here"):
        reproduce(short_order(tmp_path, "schedule.m_s=2", **asked), Console(quiet=True))
    assert table.read_text() == written


def test_columns_and_parts_are_run_alone_and_stay_when_others_are_asked_for(
    tmp_path: Path, without_ray: pytest.MonkeyPatch
) -> None:
    quiet = Console(quiet=True)

    def some(columns: tuple[str, ...], parts: tuple[str, ...]) -> tuple[str, list[str]]:
        """The table, and which trials there are."""
        asked = short_order(tmp_path, table="dfmf-4", rows=("dfmf",), columns=columns, parts=parts)
        folder = reproduce(asked, quiet).folder
        done = [path.parent.relative_to(folder) for path in folder.glob("*/trials/*/summary.json")]
        return (folder / "table.md").read_text(), sorted(map(str, done))

    without_ray.setattr(driving, "run_trials", stops_after(1))
    page, done = some(("r20",), ("4-parties",))
    assert done == ["4-parties/trials/dfmf_r20_seed-0"]
    assert "--rows dfmf --columns r20 --parts 4-parties" in page
    assert "## 2-parties" not in page
    heads = next(line for line in page.splitlines() if line.startswith("|  |")).split(" | ")
    assert heads[1::3] == ["balanced", "r3", "r10", "r20"]
    assert "still to do" not in page
    page, done = some(("r3",), ("2-parties",))
    assert done == ["2-parties/trials/dfmf_r3_seed-0", "4-parties/trials/dfmf_r20_seed-0"]
    assert "--rows dfmf --columns r3,r20 --parts 2-parties,4-parties" in page
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## 2-parties", "## 4-parties"]
    assert page.count("Runs still to do: 1; the command above goes on.") == 2


@pytest.mark.parametrize(
    ("changes", "overrides", "expected"),
    [
        ({"table": "dfmf-9"}, (), "TABLE: there is no 'dfmf-9' (known: dfmf-2, dfmf-3, dfmf-4, dfmf-s1,"),
        ({"scale": "large"}, (), "--scale large: must be one of digits, fashion-mnist, cifar, paper"),
        ({"rows": ("dfmf", "gan")}, (), "--rows: there is no 'gan' (known: dfmf, dfq"),
        ({"columns": ("r5",)}, (), "--columns: there is no 'r5' (known: balanced, r3)"),
        ({"parts": ("dogs",)}, (), "--parts: there is no 'dogs' (known: digits)"),
        ({}, ("schedule.m_sss=1",), "schedule.m_sss: unknown key"),
        (
            {"scale": "paper", "table": "dfmf-4", "rows": None},
            ("data.root=/nowhere",),
            "Stanford Dogs' images as",
        ),
    ],
)
def test_what_cannot_be_run_is_said_in_a_line(
    tmp_path: Path, changes: dict[str, Any], overrides: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(UserError) as caught:
        reproduce(short_order(tmp_path, *overrides, **{"rows": None, **changes}), Console(quiet=True))
    assert expected in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_only_the_data_of_parts_that_are_asked_for_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for = []

    def not_there(config: RunConfig) -> None:
        assert config.data is not None
        asked_for.append(config.data.source)
        raise UserError("data: is not there")

    monkeypatch.setattr(checking, "read_data", not_there)
    with pytest.raises(UserError, match=r"^data: is not there; to get it: .*cifar-100-python"):
        reproduce(short_order(tmp_path, scale="paper", parts=("cifar100",)), Console(quiet=True))
    assert asked_for == ["cifar100"]


def test_table_2_has_every_method_and_each_its_warm_up() -> None:
    (part,) = parts_of("dfmf-2", "digits")
    config = base_of(part, ())
    rows = {row.key: row.values for row in all_methods(config)}
    assert list(rows) == [*(name for name, one in METHODS.items() if one.data_free), "vanilla_kd"]
    warm_up, epochs = config.schedule.warmup_epochs, config.schedule.epochs
    expected = {"dfmf": warm_up, "dfq": warm_up, "dafl": warm_up, "zskt": 0, "dfq_no_adv": warm_up + epochs}
    assert expected.items() <= {key: values["schedule.warmup_epochs"] for key, values in rows.items()}.items()
