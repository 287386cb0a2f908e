"""A second sweep in a folder keeps what the first one knew; without Ray."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.comparison import collect
from orchestrator.errors import Interrupted, UserError
from orchestrator.reproducing import Order, reproduce
from orchestrator.sweep import driving
from tests.paper_tables import stops_after, without_cluster
from tests.tiny import SHORT_TABLE

QUIET = Console(quiet=True)


def order(folder: Path, *rows: str) -> Order:
    return Order(
        table="dfmf-s1", seeds=1, rows=rows, columns=("r3",), overrides=(*SHORT_TABLE, f"output={folder}")
    )


def read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    return content


def states(folder: Path) -> dict[str, str]:
    return {row["name"]: row["status"] for row in read(folder)["trials"]}


def test_another_order_keeps_the_trials_of_the_first_and_runs_its_own_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_cluster(monkeypatch)
    folder = tmp_path / "dfmf-s1-digits" / "digits"
    monkeypatch.setattr(driving, "run_trials", stops_after(0))
    with pytest.raises(Interrupted):
        reproduce(order(tmp_path, "m_ga_5"), QUIET)
    why = folder / "trials" / "m_ga_5_r3_seed-0.error.txt"
    why.parent.mkdir()
    why.write_text("numbers exploded")
    content = read(folder)
    content["trials"][0]["status"] = "failed"
    (folder / "sweep.json").write_text(json.dumps(content))

    monkeypatch.setattr(driving, "run_trials", stops_after(1))
    reproduce(order(tmp_path, "m_ga_10"), QUIET)
    assert states(folder) == {"m_ga_5_r3_seed-0": "failed", "m_ga_10_r3_seed-0": "finished"}
    assert read(folder)["trials"][0]["reason"] == "numbers exploded"
    assert list(read(folder)["definition"]["cases"]) == ["m_ga_5_r3", "m_ga_10_r3"]
    assert [run.name for run in collect([folder])] == list(states(folder))
    assert "m_ga_10_r3" in (folder / "report.html").read_text()

    driving.resume(folder, console=QUIET)
    assert set(states(folder).values()) == {"finished"}


def test_an_order_with_a_password_goes_on_and_its_table_does_not_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_cluster(monkeypatch)
    monkeypatch.setattr(driving, "run_trials", stops_after(0))
    asked = order(tmp_path, "m_ga_5")
    secret = "tracking.uri=https://me:hunter2@mlflow.example/"
    asked = dataclasses.replace(asked, overrides=(*asked.overrides, secret))
    for _ in range(2):
        with pytest.raises(Interrupted):
            reproduce(asked, QUIET)
    folder = tmp_path / "dfmf-s1-digits"
    assert "tracking.uri=https://***@mlflow.example/" in (folder / "table.md").read_text()
    assert not [one for one in folder.rglob("*") if one.is_file() and b"hunter2" in one.read_bytes()]
    elsewhere = dataclasses.replace(asked, overrides=(*asked.overrides, secret.replace("mlflow", "other")))
    with pytest.raises(UserError, match=r"is of another configuration: tracking\.uri"):
        reproduce(elsewhere, QUIET)
