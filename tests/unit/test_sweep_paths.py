"""Paths in a space mean the same wherever its trials are run or gone on with."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.errors import Interrupted
from orchestrator.loading import parse_config
from orchestrator.sweep import driving
from orchestrator.sweep.driving import run_space
from orchestrator.sweep.paths import absolute_space
from orchestrator.sweep.space import Parameter, Space
from orchestrator.sweep.wishes import Wishes
from tests.paper_tables import stops_after, without_cluster
from tests.tiny import tiny_run


def test_the_paths_in_a_space_start_at_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = Space(
        parameters={"method.embeddings": Parameter(grid=("names.npy", "/other.npy"))},
        cases={
            "own": {"method.sources": ["mine.parquet", "noise", "data"], "assistant": "teacher"},
            "none": {"method.sources": None},
        },
    )
    whole = absolute_space(space)
    assert whole.parameters["method.embeddings"].grid == (str(tmp_path / "names.npy"), "/other.npy")
    own = [str(tmp_path / "mine.parquet"), "noise", "data"]
    assert whole.cases == {
        "own": {"method.sources": own, "assistant": "teacher"},
        "none": {"method.sources": None},
    }
    assert absolute_space(whole) == whole


def test_a_sweep_of_sources_knows_them_from_the_root_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_cluster(monkeypatch)
    monkeypatch.setattr(driving, "run_trials", stops_after(0))
    monkeypatch.chdir(tmp_path)
    case = {"method.name": "transfer_set", "schedule.warmup_epochs": 0, "method.sources": ["mine", "noise"]}
    tree = tiny_run(name="study", output="runs", tracking={"enabled": False})
    with pytest.raises(Interrupted):
        run_space(
            parse_config(tree, "run"),
            Space(cases={"own": case}, seeds=1),
            Wishes(space="sets"),
            "sets",
            Console(quiet=True),
        )
    known = json.loads((tmp_path / "runs/study/sweep.json").read_text())
    assert known["definition"]["cases"]["own"]["method.sources"] == [str(tmp_path / "mine"), "noise"]
    assert known["trials"][0]["parameters"]["method.sources"] == [str(tmp_path / "mine"), "noise"]
