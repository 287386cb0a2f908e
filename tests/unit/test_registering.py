"""Registering a teacher: what the registry has then, and that it has nothing of what failed."""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner

from fusion.teachers import save_teacher
from orchestrator.cli import app
from orchestrator.sources import read_source
from orchestrator.teacher_source import TeacherSource
from tests.tiny import teacher


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for all, which takes seconds to make, and two parties' files."""
    made = tmp_path_factory.mktemp("marketplace")
    for index in range(2):
        save_teacher(teacher(index), made / f"{index}.safetensors", licence="MIT")
    return made


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    uri = f"sqlite:///{folder}/store/mlflow.db"
    done = CliRunner().invoke(app, ["teachers", *arguments, "--registry-uri", uri])
    return done.exit_code, done.output


def state(folder: Path) -> tuple[int, ...]:
    """How many registered models, versions and logged models there are."""
    uri = f"sqlite:///{folder}/store/mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    found = client.search_registered_models(), client.search_model_versions()
    return (*(len(one) for one in found), len(client.search_logged_models(experiments)))


def test_what_is_registered_is_read_listed_and_served(folder: Path, tmp_path: Path) -> None:
    file, uri = str(folder / "0.safetensors"), f"sqlite:///{folder}/store/mlflow.db"
    code, said = run(folder, "register", file, "--name", "digits", "--alias", "best", "name=clinic-a")
    assert code == 0
    assert said.endswith(
        "registered as models:/digits/1; fuse it with: teachers: [models:/digits@best, ...]\n"
    )
    found = read_source(TeacherSource(source="models:/digits@best"), "", uri)
    assert (found.teacher.name, found.extra) == ("clinic-a", {"licence": "MIT"})
    assert all(torch.equal(found.teacher.weights[name], one) for name, one in teacher(0).weights.items())
    assert run(folder, "register", str(folder / "1.safetensors"), "--name", "digits", "licence=BSD")[0] == 0
    code, said = run(folder, "list", "--json", str(tmp_path / "list.json"))
    assert code == 0
    assert [line.split()[:3] for line in said.splitlines()] == [
        ["name", "version", "aliases"],
        ["digits", "1", "best"],
        ["digits", "2", "teacher"],
    ]
    assert all(f" {one} " in said for one in ("resnet8-w8", "1x8x8", "0.1 MB", "MIT", "BSD"))
    versions = json.loads((tmp_path / "list.json").read_text())["versions"]
    assert [(one["version"], one["aliases"], one["party"], one["licence"]) for one in versions] == [
        ("1", "best", "clinic-a", "MIT"),
        ("2", "", "party-1", "BSD"),
    ]
    sha256 = json.loads((folder / "0.json").read_text())["sha256"]
    expected = {"network": "resnet8-w8", "classes": "4", "image": "1x8x8", "sha256": sha256}
    assert expected.items() <= versions[0].items()
    images = np.random.default_rng(0).random((2, 1, 8, 8), dtype=np.float32)
    with torch.no_grad():
        logits = [teacher(index).build()(torch.from_numpy(images)).logits.numpy() for index in range(2)]
    for path in (folder / "store").rglob("MLmodel"):
        assert not list(path.parent.rglob("*.pkl"))
        served = mlflow.pyfunc.load_model(str(path.parent)).predict(images)
        assert any(np.array_equal(served, one) for one in logits)


@pytest.mark.parametrize(
    "broken", ["log_model_artifacts", "create_model_version", "set_registered_model_alias"]
)
def test_nothing_is_half_registered(folder: Path, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(folder / "1.safetensors")
    run(folder, "register", file, "--name", "there", "name=x")
    before = state(folder)

    def fail(*_arguments: Any, **_named: Any) -> None:
        raise MlflowException("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, broken, fail)
        code, said = run(folder, "register", file, "--name", "new", "--alias", "a")
    assert code == 2
    assert said.startswith(f"new: the registry sqlite:///{folder}/store/mlflow.db does not answer (the disk")
    assert state(folder) == before


def test_what_is_no_teacher_never_reaches_the_registry(folder: Path, tmp_path: Path) -> None:
    file = folder / "0.safetensors"
    for arguments, words in (
        ([str(file), "--name", "../evil"], "--name: must be 1 to 64 of A-Z"),
        ([str(file), "--name", "a", "--alias", "latest"], "--alias: must be letters, digits"),
        ([str(file), "--name", "a", "--alias", "v3"], "--alias: must be"),
        ([str(tmp_path / "gone.pt"), "--name", "a", "network=resnet8"], "No such file or directory"),
        ([str(file), "--name", "a", "mean=[0.9]"], "mean: is [0.3] in the card"),
    ):
        code, said = run(tmp_path, "register", *arguments)
        assert code == 2, said
        assert words in said
    assert not (tmp_path / "store").exists()
    assert run(folder, "register", str(file), "--name", "twice")[0] == 0
    before = state(folder)
    code, said = run(folder, "register", str(file), "--name", "twice")
    assert (code, said) == (2, "models:/twice/1: is this classifier already, with this card\n")
    assert state(folder) == before
