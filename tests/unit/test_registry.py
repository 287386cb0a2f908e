"""Teachers in an MLflow registry: what they mean, that they are fetched as files, and what is said if not."""

import json
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch

from fusion.teachers import save_teacher
from orchestrator.errors import UserError
from orchestrator.loading import parse_config
from orchestrator.sources import pinned, read_source
from orchestrator.sweep.paths import absolute
from orchestrator.teacher_source import TeacherSource
from orchestrator.teachers import read_teachers, with_versions
from tests.outside import GIVEN, torchvisions
from tests.tiny import teacher, tiny_run


class Store:
    """A registry in a SQLite file, into which files are put without our help."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.client = mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        self._experiment = self.client.create_experiment("e", (folder / "artifacts").as_uri())

    def put(self, name: str, files: Path, alias: str | None = None) -> str:
        """Register the files in a folder as the next version of a model; its number."""
        run = self.client.create_run(self._experiment)
        self.client.log_artifacts(run.info.run_id, str(files), "model")
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)
        source = f"{run.info.artifact_uri}/model"
        number = str(self.client.create_model_version(name, source, run.info.run_id).version)
        if alias is not None:
            self.client.set_registered_model_alias(name, alias, number)
        return number


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Making a database takes seconds, so all tests share one, and the names in it."""
    store = Store(tmp_path_factory.mktemp("registry"))
    for index in range(2):
        folder = store.folder / f"ours-{index}"
        folder.mkdir()
        save_teacher(teacher(index, name="clinic-a"), folder / "weights.safetensors")
        store.put("ours", folder, "newest")
    return store


@pytest.fixture
def store(made: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    return made


def refused(place: str, registry: str | None, **given: Any) -> str:
    with pytest.raises(UserError) as error:
        read_source(TeacherSource(source=place, **given), "teachers.0.", registry)
    message = str(error.value)
    assert message.isprintable()
    assert message.startswith(f"teachers.0.source: {place}: ")
    return message.removeprefix(f"teachers.0.source: {place}: ")


def test_a_version_and_an_alias_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, index in (("models:/ours/1", 0), ("models:/ours/2", 1), ("models:/ours@newest", 1)):
        found = read_source(TeacherSource(source=place), "", store.uri).teacher
        assert found.name == "clinic-a"
        expected = teacher(index).weights
        assert all(torch.equal(found.weights[name], expected[name]) for name in expected)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/mlflow.db")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", store.uri)  # Counts more.
    assert read_source(TeacherSource(source="models:/ours/1")).teacher.name == "clinic-a"


def test_an_alias_becomes_the_version_that_a_run_was_made_with(store: Store) -> None:
    tree = tiny_run(
        teachers=["models:/ours/1", {"source": "models:/ours@newest", "name": "clinic-b"}],
        pretrain=None,
        data=None,
        tracking={"uri": store.uri},
    )
    config = with_versions(parse_config(tree, "test"))
    assert config.teachers is not None
    assert [one.source for one in config.teachers] == ["models:/ours/1", "models:/ours/2"]
    assert [one.name for one in read_teachers(config)] == ["clinic-a", "clinic-b"]
    with pytest.raises(UserError, match=r"^teachers\.1\.source: models:/ours@old: .*\(it has: newest\)$"):
        pinned(TeacherSource(source="models:/ours@old"), "teachers.1.", store.uri)


def test_a_sweep_names_version_and_registry_for_its_trials(store: Store) -> None:
    tree = tiny_run(teachers=["models:/ours@newest", "models:/ours/1"], pretrain=None, data=None)
    with pytest.raises(UserError, match=r"^tracking\.uri: trials that take teachers from a registry"):
        absolute(parse_config(tree, "test"))
    whole = absolute(parse_config(tree | {"tracking": {"uri": store.uri}}, "test"))
    assert whole.teachers is not None
    assert [one.source for one in whole.teachers] == ["models:/ours/2", "models:/ours/1"]


def test_other_forms_are_read_by_ourselves(store: Store) -> None:
    zoo = store.folder / "zoo"
    zoo.mkdir()
    torch.save(torchvisions().state_dict(), zoo / "model.pth")
    (zoo / "README.md").write_text("a model")
    store.put("zoo", zoo)
    given = {key: tuple(one) if isinstance(one, list) else one for key, one in GIVEN.items()}
    outside = read_source(TeacherSource(source="models:/zoo/1", **given), "", store.uri)
    assert outside.teacher.name == "model"
    assert torch.equal(outside.teacher.weights["fc.bias"], torchvisions().state_dict()["fc.bias"])
    pickled = store.folder / "pickled"
    (pickled / "data").mkdir(parents=True)
    (pickled / "MLmodel").write_text("flavors: {python_function: {loader_module: evil, code: code}}\n")
    (pickled / "data" / "model.pth").write_bytes(b"")
    store.put("pickled", pickled)
    assert refused("models:/pickled/1", store.uri) == (
        "holds no classifier in a form that is read (it holds: MLmodel, data)"
    )


def test_what_does_not_exist_is_answered_with_what_does(store: Store) -> None:
    said = refused("models:/theirs/1", store.uri)
    assert said.startswith("the registry has no model 'theirs' (it has: ours")
    assert refused("models:/ours/7", store.uri) == "the model 'ours' has no version 7 (it has: 1, 2)"
    assert refused("models:/ours@best", store.uri) == (
        "the model 'ours' has no alias 'best' (it has: newest)"
    )
    for place in ("models:/ours", "models:/ours/latest", "models:/ours/0", "models:/a' OR 1/1", "models:/"):
        assert refused(place, store.uri) == (
            "must be models:/NAME/VERSION, with a number, or models:/NAME@ALIAS"
        )
    assert refused("models:/ours/1", None).startswith("which registry? ")


def test_a_registry_that_does_not_answer_is_said_soon(store: Store, tmp_path: Path) -> None:
    gone = f"sqlite:///{tmp_path}/mlflow.db"
    assert refused("models:/ours/1", gone) == f"the registry {gone}: no such database"
    assert not any(tmp_path.iterdir())
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        started, uri = time.monotonic(), f"http://me:secret@127.0.0.1:{unused.getsockname()[1]}"
        said = refused("models:/ours/1", uri)
    assert time.monotonic() - started < 10
    assert said.startswith("the registry http://***@127.0.0.1:")
    assert "does not answer (" in said
    assert "secret" not in said


def test_damage_is_named_by_the_uri(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.folder / "damaged"
    shutil.copytree(store.folder / "ours-0", folder)
    with (folder / "weights.safetensors").open("r+b") as file:
        file.truncate(10_000)
    store.put("damaged", folder)
    assert "truncated or changed" in refused("models:/damaged/1", store.uri)
    card = json.loads((folder / "weights.json").read_text())
    (folder / "weights.json").write_text(json.dumps(card | {"name": "../../evil"}))
    store.put("damaged", folder)
    assert refused("models:/damaged/2", store.uri).startswith("weights.json: name: must be 1 to 64")
    monkeypatch.setattr("orchestrator.registry.MAX_CARD_BYTES", 100)
    assert "weights.json has " in refused("models:/ours/1", store.uri)
    (folder / "weights.json").write_bytes(b"")
    store.put("damaged", folder)
    assert "weights.json has 0 bytes" in refused("models:/damaged/3", store.uri)
