"""The doctor's findings about where a run's files go, and about Ray."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.checks import clusters, storage
from orchestrator.config import RunConfig
from tests.checking import config, level

Patch = pytest.MonkeyPatch
GIB = 2**30


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: Patch) -> None:
    """Those of the tests' own environment must not decide."""
    for name in list(os.environ):
        if name.startswith(("RAY_", "CUDA_VISIBLE", "TORCH_FORCE", "MLFLOW_TRACKING")):
            monkeypatch.delenv(name)


def test_disk_space_has_two_thresholds(tmp_path: Path, monkeypatch: Patch) -> None:
    chosen = config(output=str(tmp_path / "not" / "yet"))
    for free, expected in ((GIB - 1, "problem"), (GIB, "warning"), (10 * GIB, "ok")):
        monkeypatch.setattr(storage.shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        assert level(storage.disk(chosen), str(tmp_path)) == expected


def test_a_folder_is_written_to_and_left_as_it_was(tmp_path: Path) -> None:
    assert level(storage.storage(config(output=str(tmp_path / "runs"))), "locked") == "ok"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    assert level(storage.storage(config(output="/proc/dfmf")), "/proc: ", "output=FOLDER") == "problem"
    (tmp_path / "file").touch()
    inside = config(output=str(tmp_path / "file" / "runs"))
    assert level(storage.storage(inside), "Not a directory") == "problem"


def test_a_full_disk_is_a_problem(tmp_path: Path, monkeypatch: Patch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    chosen = config(output=str(tmp_path))
    assert level(storage.storage(chosen), f"{tmp_path}: No space left on device") == "problem"
    assert not list(tmp_path.iterdir())


def test_locks_that_do_not_lock_are_a_problem(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(storage.fcntl, "flock", lambda file, how: None)
    chosen = config(output=str(tmp_path))
    assert level(storage.storage(chosen), "does not keep a second process out") == "problem"

    def none(file: object, how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(storage.fcntl, "flock", none)
    assert level(storage.storage(chosen), "Operation not supported") == "problem"


def test_a_tracking_store_answers_is_to_be_made_or_is_a_problem(tmp_path: Path) -> None:
    output = str(tmp_path / "runs")
    assert level(storage.tracking(config(output=output, tracking={"enabled": False})), "off") == "ok"
    assert level(storage.tracking(config(output=output)), "will be made") == "ok"
    assert not list(tmp_path.iterdir())
    wrong = config(output=output, tracking={"uri": f"sqlite:///{tmp_path}/gone/mlflow.db"})
    assert level(storage.tracking(wrong), "no folder", "tracking.uri") == "problem"
    (tmp_path / "mlflow.db").write_text("no database")
    damaged = config(output=output, tracking={"uri": f"sqlite:///{tmp_path}/mlflow.db"})
    assert level(storage.tracking(damaged), "does not answer", "tracking.uri") == "problem"
    refused = config(output=output, tracking={"uri": "http://user:CANARY@127.0.0.1:9"})
    found = storage.tracking(refused)
    assert level(found, "http://***@127.0.0.1:9 does not answer", "start the server") == "problem"
    assert "CANARY" not in str(found)


def test_a_long_or_closed_temporary_folder_is_a_problem(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert level(clusters.temporary_folder(), "of 107 bytes") == "ok"
    monkeypatch.setenv("RAY_TMPDIR", "/" + "a" * 38)
    assert level(clusters.temporary_folder(), "cannot be written", "RAY_TMPDIR") == "problem"
    monkeypatch.setenv("RAY_TMPDIR", "/" + "a" * 39)
    assert level(clusters.temporary_folder(), "take 108 bytes, Linux allows 107") == "problem"


def test_little_shared_memory_is_a_warning(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(clusters, "SHARED_MEMORY", tmp_path / "gone")
    assert level(clusters.shared_memory(), "Ray uses a slow disk") == "warning"
    monkeypatch.setattr(clusters, "SHARED_MEMORY", tmp_path)
    for mebibytes, expected in ((64, "warning"), (512, "ok")):
        usage = SimpleNamespace(free=mebibytes * 2**20)
        monkeypatch.setattr(clusters.shutil, "disk_usage", lambda path, usage=usage: usage)
        assert level(clusters.shared_memory(), f"{mebibytes} MiB free") == expected


def test_a_token_must_be_there_and_be_nobody_elses(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert level(clusters.token(), "none yet") == "ok"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert level(clusters.token(), "is not there", "ray get-auth-token --generate") == "problem"
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("0" * 32)
    path.chmod(0o644)
    assert level(clusters.token(), "mode 0644", f"chmod 600 {path}") == "warning"
    path.chmod(0o600)
    assert clusters.token().level == "ok"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert level(clusters.token(), "unset RAY_AUTH_MODE") == "warning"
    monkeypatch.setenv("RAY_AUTH_MODE", "tokens")
    assert level(clusters.token(), "'tokens' is unknown to Ray") == "problem"


@pytest.fixture
def answering() -> Iterator[Callable[[int], str]]:
    """Starts a server whose every answer has a given status; returns its address."""
    servers: list[HTTPServer] = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's
                return

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_dashboard_that_others_reach_must_ask_for_a_token(
    answering: Callable[[int], str], monkeypatch: Patch
) -> None:
    assert clusters.dashboard(None).level == "ok"
    assert level(clusters.dashboard(answering(401)), "asks for a token") == "ok"
    open_one = answering(200)
    assert level(clusters.dashboard(open_one), "only this machine reaches it") == "ok"
    assert level(clusters.dashboard("127.0.0.1:1"), "not reachable") == "ok"
    monkeypatch.setattr(clusters, "_is_loopback", lambda address: False)
    assert level(clusters.dashboard(open_one), "runs code on the cluster", "token") == "warning"


def test_loopback_addresses_are_told_from_others() -> None:
    for address, expected in (
        ("http://127.0.0.1:8265", True),
        ("http://localhost:8265", True),
        ("http://[::1]:8265", True),
        ("http://192.0.2.1:8265", False),
        ("http://head:8265", False),
    ):
        assert clusters._is_loopback(address) == expected


def test_ray_that_does_not_start_hangs_or_runs_other_code_is_a_problem(monkeypatch: Patch) -> None:
    seen = {"nodes": 2, "cpus": 8.0, "gpus": 1.0, "ray": "2.60.0", "dashboard": "", "session": "s"}
    answers: list[Any] = [
        {**seen, "differences": []},
        {**seen, "differences": ["node worker has dfmf b, the driver a"]},
        {"error": "engine.address: no Ray cluster at\nhttp://u:CANARY@h"},
        subprocess.TimeoutExpired("ray", 1),
    ]

    def probe(chosen: RunConfig) -> dict[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    monkeypatch.setattr(clusters, "probe", probe)
    chosen = config(engine={"address": "h:1"})
    well = clusters.ray_works(chosen)
    assert level(well[0], "the cluster at h:1 ran a task: 2 nodes, 8 CPUs, 1 GPUs, Ray 2.60.0") == "ok"
    assert well[1].check == "dashboard"
    assert level(clusters.ray_works(chosen)[0], "dfmf b, the driver a", "same versions") == "problem"
    assert level(clusters.ray_works(chosen)[0], "http://***@h", "engine.address") == "problem"
    assert level(clusters.ray_works(chosen)[0], "ran no task within 150 s") == "problem"


def test_a_probe_that_dies_is_told_by_its_last_line(tmp_path: Path, monkeypatch: Patch) -> None:
    for code, expected in (
        ("import sys; sys.exit('one\\ntwo')", "Ray did not start: two"),
        ("import os; os.abort()", "Ray did not start: exit code -6"),
    ):
        monkeypatch.setattr(clusters, "PROBE", code)
        assert clusters.probe(config()) == {"error": expected}
