"""A password in the configuration is in nothing that a run leaves: files, MLflow's database, the terminal."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator import shipping
from orchestrator.errors import UserError
from tests.faults.server import Server
from tests.tiny import tiny_run

ROOT = Path(__file__).parents[2]
CANARY = "CANARY-1b7"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An MLflow server, which takes any password, as a URI that has one; and its folder."""
    one = Server(tmp_path_factory.mktemp("server"))
    one.start()
    yield f"http://user:{CANARY}@127.0.0.1:{one.port}", one.folder
    one.kill()


def dfmf(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **more},
        capture_output=True,
        text=True,
        timeout=300,
    )


def holding(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path.name for path in files if CANARY.encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_finished_run_on_a_server_holds_its_password_nowhere(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    uri, folder = server
    path = tmp_path / "given" / "run.yaml"
    path.parent.mkdir()
    path.write_text(
        yaml.safe_dump(tiny_run(output=str(tmp_path / "runs"), name="one", tracking={"uri": uri}))
    )
    done = dfmf("fuse", str(path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dfmf sync" not in done.stdout
    assert CANARY not in done.stdout + done.stderr
    assert holding(tmp_path / "runs") == []
    assert (folder / "mlflow.db").stat().st_size > 100_000
    assert list((folder / "artifacts").rglob("config.yaml"))
    assert holding(folder) == []
    shown = dfmf("fuse", str(path), "--dry-run", cwd=tmp_path)
    assert "http://***@127.0.0.1" in shown.stdout
    assert CANARY not in shown.stdout + shown.stderr
    written = str(tmp_path / "runs" / "one" / "config.yaml")
    assert dfmf("evaluate", str(tmp_path / "runs" / "one"), cwd=tmp_path).returncode == 0
    refused = dfmf("fuse", written, "name=two", cwd=tmp_path, MLFLOW_TRACKING_URI="")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "MLFLOW_TRACKING_URI" in refused.stderr


@pytest.mark.parametrize("host", ["127.0.0.1:9", "127.0.0.1:port", "127.0.0.1:9/?token=also"])
def test_a_server_that_cannot_be_reached_is_named_without_its_password(host: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        shipping.start(tmp_path / "one", f"http://user:{CANARY}@{host}", "dfmf", {}, {}, print)
    assert str(error.value).startswith("tracking.uri: cannot reach http://***@127.0.0.1:")
    assert CANARY not in str(error.value)
