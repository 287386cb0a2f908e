"""Registering a teacher: what the registry has then, and that it has nothing of what failed."""

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException
from rich.console import Console
from typer.testing import CliRunner

from fusion.teachers import save_teacher
from orchestrator.cli import app
from orchestrator.errors import UserError
from orchestrator.lineage import _as_tag
from orchestrator.loading import parse_config
from orchestrator.running import fuse
from orchestrator.sending import read_note, write_note
from orchestrator.shipping import sync
from orchestrator.sources import read_source
from orchestrator.teacher_source import TeacherSource
from tests.tiny import teacher, tiny_run


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
        ([str(file), "--name", "a\n"], "--name: must be 1 to 64 of A-Z"),
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


def test_a_fused_student_has_a_version_with_its_lineage(folder: Path, tmp_path: Path) -> None:
    uri, store = f"sqlite:///{tmp_path}/mlflow.db", folder / "store" / "mlflow.db"
    run(folder, "register", str(folder / "0.safetensors"), "--name", "left")
    shutil.copy(store, tmp_path / "mlflow.db")
    tree = tiny_run(
        teachers=[{"source": "models:/left/1", "name": "left"}, str(folder / "1.safetensors")],
        pretrain=None,
        data=None,
        output=str(tmp_path),
        tracking={"uri": uri, "register_as": "fused"},
        schedule={"warmup_epochs": 1, "epochs": 1, "iterations_per_epoch": 1, "batch_size": 8},
    )
    console = Console(file=io.StringIO(), width=200)
    result = fuse(tree, console=console)
    assert "the student is registered as models:/fused/1" in console.file.getvalue()  # type: ignore[attr-defined]
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    run_id = result.summary["mlflow_run_id"]
    version = client.get_model_version("fused", "1")
    assert version.run_id == version.tags["dfmf.run"] == run_id
    sources = [(one["name"], one["source"]) for one in json.loads(version.tags["dfmf.teachers"])]
    assert sources == [("left", "models:/left/1"), ("party-1", str(folder / "1.safetensors"))]
    hashes = [one["sha256"] for one in json.loads(version.tags["dfmf.teachers"])]
    assert hashes == [json.loads((folder / f"{index}.json").read_text())["sha256"] for index in range(2)]
    inputs = [one.model_id for one in client.get_run(run_id).inputs.model_inputs]
    assert [client.get_logged_model(one).name for one in inputs] == ["left"]
    assert read_source(TeacherSource(source="models:/fused/1"), "", uri).teacher.name == "student"
    assert "models:/left/1" in (result.folder / "MODEL_CARD.md").read_text().replace("\\", "")
    note = read_note(result.folder)
    assert note is not None
    write_note(result.folder, dataclasses.replace(note, done=False, epoch=-1))
    assert sync(result.folder).endswith("the student is registered as models:/fused/1")
    assert len(client.search_model_versions("name = 'fused'")) == 1
    assert len(client.get_run(run_id).inputs.model_inputs) == 1


def test_what_is_not_logged_is_not_registered() -> None:
    with pytest.raises(UserError, match=r"tracking\.register_as: a run that is not logged"):
        parse_config(tiny_run(tracking={"enabled": False, "register_as": "a"}), "test")
    with pytest.raises(UserError, match=r"tracking\.register_as: "):
        parse_config(tiny_run(tracking={"register_as": "a/b"}), "test")


def test_a_tag_of_many_teachers_has_as_many_as_it_takes() -> None:
    many = [{"name": f"party-{index}", "sha256": "0" * 64, "accuracy": 1.0} for index in range(200)]
    told = json.loads(_as_tag(many))
    assert 30 < len(told) < 200
    assert told[1] == {"name": "party-1", "sha256": "0" * 64}
