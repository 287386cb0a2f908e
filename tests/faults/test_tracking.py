"""An MLflow server that is killed or frozen while a run ships to it: nothing is lost, doubled or slowed
down."""

import itertools
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.driver import Driver
from fusion.teachers import save_teacher
from orchestrator import fuse, journal
from orchestrator.shipping import sync
from tests.faults.server import Server
from tests.tiny import teacher, tiny_run

pytestmark = pytest.mark.slow

EPOCHS = 16
READY = 2  # As the database has it.
Hook = Callable[[int], None]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("server"))
    yield one
    one.kill()


@pytest.fixture
def server(running: Server) -> Server:
    running.start()
    return running


def config(folder: Path, server: Server) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    for index in range(2):
        save_teacher(teacher(index), folder / f"party-{index}.safetensors")
    return tiny_run(
        output=str(folder / "runs"),
        name="one",
        data=None,
        pretrain=None,
        teachers=[{"path": str(folder / f"party-{index}.safetensors")} for index in range(2)],
        schedule={"warmup_epochs": 1, "epochs": EPOCHS, "iterations_per_epoch": 8, "batch_size": 32},
        checkpoint={"every_iterations": 24},
        tracking={"uri": server.uri},
    )


def run_id(run: Path) -> str:
    return str(json.loads((run / "tracking.json").read_text())["run_id"])


def assert_all_there_once(run: Path, server: Server) -> None:
    identifier = run_id(run)
    expected = {(name, one["epoch"]) for one in journal.read_epochs(run) for name in one["metrics"]}
    assert len({step for _, step in expected}) == EPOCHS + 1
    points = server.points(identifier)
    final = {key for key in points if key[0].startswith("final/")}
    assert {("final/seconds", EPOCHS), ("final/rewinds", EPOCHS)} <= final
    assert points.keys() - final == expected
    assert set(points.values()) == {1}
    assert server.status(identifier) == "FINISHED"
    assert server.models(identifier) == [("student", "READY")] or server.models(identifier) == [
        ("student", 2)
    ]
    artifacts = server.artifacts(identifier)
    for ending in (".png", "+compressed.webp"):
        pictures = [one for one in artifacts if one.startswith("images/") and one.endswith(ending)]
        shown = [tuple(one.split("+")[0:3:2]) for one in pictures]
        wanted = [(f"images/samples~party-{party}", str(n)) for party in (0, 1) for n in range(EPOCHS + 1)]
        assert sorted(shown) == sorted(wanted)
    for name in ("config.yaml", "summary.json", "MODEL_CARD.md", "environment.json", "metrics.parquet"):
        assert name in artifacts
    assert any(one.startswith("plots/") for one in artifacts)
    note = json.loads((run / "tracking.json").read_text())
    assert (note["done"], note["status"], note["epoch"]) == (True, "FINISHED", EPOCHS)


def fused(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch, hook: Hook
) -> tuple[Path, list[float]]:
    """A run with `hook` called after each epoch; its folder, and the seconds between its epochs."""
    append = journal.append_epoch

    def hooked(folder: Path, epoch: int, iteration: int, metrics: dict[str, float]) -> None:
        append(folder, epoch, iteration, metrics)
        hook(epoch)

    monkeypatch.setattr(journal, "append_epoch", hooked)
    run = fuse(config(folder, server)).folder
    stamps = [one["timestamp_ms"] / 1000 for one in journal.read_epochs(run)]
    return run, [after - before for before, after in itertools.pairwise(stamps[1:])]


def test_a_server_that_is_frozen_for_a_while_slows_nothing_and_loses_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy, usual = fused(tmp_path / "healthy", server, monkeypatch, lambda epoch: None)
    assert_all_there_once(healthy, server)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")  # Attempts break off while the server is frozen.
    frozen: list[float] = []

    def freeze(epoch: int) -> None:
        if epoch == 3:
            server.freeze()
            frozen.append(time.monotonic())
            threading.Timer(7.0, lambda: (server.thaw(), frozen.append(time.monotonic()))).start()

    run, gaps = fused(tmp_path / "frozen", server, monkeypatch, freeze)
    during = gaps[3:]
    print(f"seconds an epoch: {statistics.median(usual):.3f} healthy, {statistics.median(during):.3f} frozen")
    assert len(frozen) == 2, "the run was over before the server was thawed"
    assert_all_there_once(run, server)
    assert statistics.median(during) < 3 * statistics.median(usual)


def test_a_server_that_is_killed_and_started_again_gets_everything(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harms = {4: server.kill, 10: server.start}
    run, _ = fused(tmp_path, server, monkeypatch, lambda epoch: harms.get(epoch, lambda: None)())
    assert_all_there_once(run, server)
    output = capsys.readouterr().out
    assert output.count(f"{server.uri} does not take metrics") == 1
    assert "dfmf sync" not in output


def begun(folder: Path, server: Server) -> tuple[Path, Driver]:
    (folder / "run.yaml").write_text(yaml.safe_dump(config(folder, server)))
    return folder / "runs" / "one", Driver(folder, "run.yaml")


def epochs(run: Path, least: int) -> Callable[[], bool]:
    return lambda: len(journal.read_epochs(run)) > least


def test_a_server_that_never_comes_back_costs_seconds_and_sync_sends_the_rest(
    server: Server, tmp_path: Path
) -> None:
    run, driver = begun(tmp_path, server)
    driver.wait_until(epochs(run, 4))
    server.kill()
    driver.wait_until((run / "summary.json").exists)
    over = time.monotonic()
    code, output, errors = driver.end()
    waited = time.monotonic() - over
    print(f"seconds from the summary to the exit, the server dead: {waited:.1f}")
    assert (code, errors) == (0, "")
    assert f"dfmf sync {run}" in output
    assert waited < 30
    code, _, errors = Driver(tmp_path, str(run), command="sync").end()
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith(f"cannot reach {server.uri} ")
    server.start()
    code, output, errors = Driver(tmp_path, str(run), command="sync").end()
    assert (code, errors) == (0, "")
    assert f"{server.uri} has everything of {run}; " in output
    assert_all_there_once(run, server)
    assert sync(run) == f"{server.uri} has everything of {run}"


def test_a_server_that_is_frozen_at_the_end_does_not_keep_the_run(server: Server, tmp_path: Path) -> None:
    run, driver = begun(tmp_path, server)
    driver.wait_until(epochs(run, 4))
    server.freeze()
    try:
        driver.wait_until((run / "summary.json").exists)
        over = time.monotonic()
        code, output, errors = driver.end()
        waited = time.monotonic() - over
    finally:
        server.thaw()
    print(f"seconds from the summary to the exit, the server frozen: {waited:.1f}")
    assert (code, errors) == (0, "")
    assert f"dfmf sync {run}" in output
    assert waited < 30
    sync(run)
    assert_all_there_once(run, server)


def test_a_run_whose_driver_is_killed_is_shipped_without_gaps_or_doubles(
    server: Server, tmp_path: Path
) -> None:
    run, driver = begun(tmp_path, server)
    driver.wait_until(epochs(run, 6))
    code, _, errors = Driver(tmp_path, str(run), command="sync").end()
    if driver.process.poll() is None:  # It may have ended meanwhile.
        assert (code, errors.count("\n")) == (2, 1)
        assert f"{run} is in use by process {driver.process.pid}" in errors
    os.killpg(driver.process.pid, signal.SIGKILL)
    driver.process.wait()
    assert f"; the run is not finished, to go on: dfmf fuse --resume {run}" in sync(run)
    assert server.status(run_id(run)) == "RUNNING"
    known = len(journal.read_epochs(run))
    assert {step for _, step in server.points(run_id(run))} == set(range(known))
    code, _, errors = Driver(tmp_path, "--resume", str(run)).end()
    assert (code, errors) == (0, "")
    assert_all_there_once(run, server)
