"""A registry on a real MLflow server: two parties register from processes of their own, the owner fuses what
they offer, and the result is back in the registry."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from fusion.teachers import save_teacher
from tests.faults.server import Server
from tests.tiny import teacher, tiny_run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    one = Server(folder)
    one.start()
    yield one
    one.kill()


def started(folder: Path, *arguments: str, registry: str | None = None) -> subprocess.Popen[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment = own | ({"MLFLOW_TRACKING_URI": registry} if registry else {}) | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "orchestrator", *arguments]
    output = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
    )


def ended(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def test_two_parties_register_and_the_owner_fuses(server: Server, tmp_path: Path) -> None:
    parties = []
    for index, name in enumerate(("clinic-a", "clinic-b")):
        folder = tmp_path / name
        folder.mkdir()
        save_teacher(teacher(index), folder / "best.safetensors")
        command = [
            "teachers",
            "register",
            "best.safetensors",
            f"name={name}",
            "--name",
            name,
            "--alias",
            "best",
        ]
        parties.append(started(folder, *command, registry=server.uri))
    for process, name in zip(parties, ("clinic-a", "clinic-b"), strict=True):
        assert f"registered as models:/{name}/1; " in ended(process)

    owner = tmp_path / "owner"
    owner.mkdir()
    said = ended(started(owner, "teachers", "list", "--registry-uri", server.uri))
    assert [line.split()[:3] for line in said.splitlines()[1:]] == [
        ["clinic-a", "1", "best"],
        ["clinic-b", "1", "best"],
    ]
    tree = tiny_run(
        teachers=["models:/clinic-a@best", "models:/clinic-b/1"],
        pretrain=None,
        data=None,
        tracking={"uri": server.uri},
    )
    (owner / "run.yaml").write_text(json.dumps(tree))
    said = ended(started(owner, "fuse", "run.yaml", "name=one", "--register", "fused"))
    assert "the student is registered as models:/fused/1" in said

    client = mlflow.MlflowClient(tracking_uri=server.uri, registry_uri=server.uri)
    version = client.get_model_version("fused", "1")
    sources = [one["source"] for one in json.loads(version.tags["dfmf.teachers"])]
    assert sources == ["models:/clinic-a/1", "models:/clinic-b/1"]
    inputs = [one.model_id for one in client.get_run(version.run_id).inputs.model_inputs]
    assert sorted(client.get_logged_model(one).name for one in inputs) == ["clinic-a", "clinic-b"]
    said = ended(started(owner, "teachers", "inspect", "models:/fused/1", registry=server.uri))
    assert "name: student (declared)" in said

    server.kill()
    process = started(owner, "teachers", "inspect", "models:/fused/1", registry=server.uri)
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said.count("\n")) == (2, 1)
    assert said.startswith(f"source: models:/fused/1: the registry {server.uri} does not answer (")
