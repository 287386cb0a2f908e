"""Runs that MLflow keeps are compared as those in folders are."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.comparison import as_json, collect, compare
from orchestrator.sending import ARTIFACTS
from orchestrator.tracking import MlflowRun
from tests.fused import write_run
from tests.tracked import other_schema

EXPERIMENT = "fusions & <b>more</b>"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("runs")
    return [
        write_run(
            place / f"{value}-{seed}", f"schedule.m_ga={value}", seed=seed, accuracy=80.0 + value * seed
        )
        for value in (1, 5)
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def store(folders: list[Path]) -> str:
    place = folders[0].parent
    uri = f"sqlite:///{place}/mlflow.db"
    parent = ship(uri, place, "parent", {}, "FINISHED", [])
    tags = {"mlflow.parentRunId": parent}
    for folder in folders:
        ship(uri, place, folder.name, tags, "FINISHED", [folder / name for name in ARTIFACTS])
    ship(uri, place, "broken", tags, "FAILED", [])
    return uri


def ship(uri: str, place: Path, name: str, tags: Mapping[str, str], status: str, files: list[Path]) -> str:
    run = MlflowRun(uri)
    identifier = run.create(EXPERIMENT, place / "mlartifacts", name, {"seed": 0}, tags)
    for file in files:
        run.log_file(file)
    run.set_status(status)
    return identifier


def refuse(target: str, uri: str) -> str:
    result = CliRunner().invoke(app, ["compare", target, "--tracking-uri", uri])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return line


def test_an_experiment_gives_the_numbers_of_its_folders(folders: list[Path], store: str) -> None:
    shipped = compare(collect([f"mlflow:{EXPERIMENT}"], store))
    kept = compare(collect(folders))
    found, expected = as_json(shipped), as_json(kept)
    assert found["groups"] == expected["groups"] and len(found["groups"]) == 2
    assert [run.name for run in shipped.left_out] == ["broken"]  # And the parent is no run at all.
    assert shipped.counted[0].epochs == kept.counted[0].epochs
    assert shipped.counted[0].environment == kept.counted[0].environment


def test_a_run_that_lost_its_artifacts_is_left_out_with_the_reason(store: str, tmp_path: Path) -> None:
    place, uri = tmp_path / "runs", store.replace("mlflow.db", "other.db")
    write_run(place / "a")
    ship(uri, place, "a", {}, "FINISHED", [place / "a" / "config.yaml"])
    (run,) = collect([f"mlflow:{EXPERIMENT}"], uri)
    assert (run.status, run.reason) == ("incomplete", "has no artifact summary.json")
    assert "no run is finished (a is incomplete)" in refuse(f"mlflow:{EXPERIMENT}", uri)


def test_damage_is_told_with_the_run_and_not_with_a_temporary_file(store: str, tmp_path: Path) -> None:
    folder, uri = write_run(tmp_path / "a"), store.replace("mlflow.db", "damaged.db")
    (folder / "summary.json").write_text("{")
    ship(uri, tmp_path, "a", {}, "FINISHED", [folder / "config.yaml", folder / "summary.json"])
    line = refuse(f"mlflow:{EXPERIMENT}", uri)
    assert line.startswith(f"mlflow:{EXPERIMENT}/a (") and "summary.json: cannot be read" in line


def test_a_store_of_another_schema_is_a_line(store: str, tmp_path: Path) -> None:
    copy = other_schema(Path(store.removeprefix("sqlite:///")), tmp_path)
    line = refuse(f"mlflow:{EXPERIMENT}", f"sqlite:///{copy}")
    assert "another schema than the MLflow here (found version fedcba987654, but expected" in line


def test_a_store_or_experiment_that_is_not_there_is_a_line_and_is_not_made(
    store: str, tmp_path: Path
) -> None:
    assert "no such tracking store" in refuse("mlflow:x", f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []
    line = refuse("mlflow:unknown", store)
    assert "no such experiment" in line and EXPERIMENT in line


def test_a_server_that_does_not_answer_is_a_line_without_its_password() -> None:
    line = refuse("mlflow:x", "http://me:secret@127.0.0.1:9")
    assert line.startswith("http://***@127.0.0.1:9: cannot read the tracking store (")
    assert "secret" not in line
