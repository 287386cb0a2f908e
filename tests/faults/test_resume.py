"""Runs that are stopped in every way, and gone on with: the same files as of a run that nobody stopped."""

import errno
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from benchmarks.driver import Driver
from orchestrator import RunFailed, UserError, fuse, journal
from orchestrator.run_parts import FusionResult
from tests.tiny import tiny_run

SCHEDULE = {"warmup_epochs": 2, "epochs": 4, "iterations_per_epoch": 12, "batch_size": 64}
FILES = (
    "student.safetensors",
    "teachers/party-0.safetensors",
    *(
        f"parties/party-{party}/{role}.safetensors"
        for party in (0, 1)
        for role in ("generator", "assistant", "vid")
    ),
)


def config(folder: Path, **changes: Any) -> dict[str, Any]:
    chosen = {
        "output": str(folder / "runs"),
        "name": "one",
        "schedule": SCHEDULE,
        "tracking": {"enabled": False},
        "checkpoint": {"every_iterations": 8},
    }
    return tiny_run(**(chosen | changes))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> FusionResult:
    return fuse(config(tmp_path_factory.mktemp("undisturbed")))


def assert_same(folder: Path, undisturbed: FusionResult) -> None:
    for name in FILES:
        assert (folder / name).read_bytes() == (undisturbed.folder / name).read_bytes(), name
    mine, theirs = (
        [
            (row["epoch"], row["name"], row["value"])
            for row in pq.read_table(one / "metrics.parquet").to_pylist()
            if not row["name"].startswith("engine/")
        ]
        for one in (folder, undisturbed.folder)
    )
    assert mine == theirs
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["student"]) == ("finished", undisturbed.summary["student"])
    assert not (folder / "checkpoints").exists()
    assert not (folder / ".lock").exists()


def begun(folder: Path, **changes: Any) -> tuple[Path, Driver]:
    tree = config(folder, **changes)
    (folder / "run.yaml").write_text(yaml.safe_dump(tree))
    return folder / "runs" / "one", Driver(folder, "run.yaml")


def checkpoints(run: Path) -> list[str]:
    return sorted(path.parent.name for path in (run / "checkpoints").glob("[!.]*/MANIFEST.json"))


def newest_is(run: Path, number: int) -> Callable[[], bool]:
    return lambda: bool(names := checkpoints(run)) and int(names[-1][-8:]) >= number


@pytest.mark.parametrize("number", [1, 7, 9])
def test_a_killed_driver_is_gone_on_with(number: int, tmp_path: Path, undisturbed: FusionResult) -> None:
    run, driver = begun(tmp_path)
    driver.wait_until(newest_is(run, number))
    assert driver.end(signal.SIGKILL)[0] == -signal.SIGKILL
    code, output, errors = Driver(tmp_path, "--resume", str(run)).end()
    assert (code, errors) == (0, "")
    assert "going on from" in output
    assert_same(run, undisturbed)


def test_a_driver_that_is_killed_in_pretraining_keeps_the_teachers_that_are_trained(
    tmp_path: Path, undisturbed: FusionResult
) -> None:
    run, driver = begun(tmp_path)
    first = run / "teachers" / "party-0.json"
    driver.wait_until(first.exists)
    driver.end(signal.SIGKILL)
    written = first.stat().st_mtime_ns
    fuse(resume=run)
    assert first.stat().st_mtime_ns == written
    assert_same(run, undisturbed)


def test_a_run_whose_folder_is_lost_is_gone_on_with_from_its_checkpoints_alone(
    tmp_path: Path, undisturbed: FusionResult
) -> None:
    place = tmp_path / "elsewhere"
    run, driver = begun(tmp_path, checkpoint={"every_iterations": 8, "to": place.as_uri()})
    driver.wait_until(
        lambda: len(list(place.glob("*/MANIFEST.json"))) == 2 and (run / "student.json").exists()
    )
    driver.end(signal.SIGKILL)
    shutil.rmtree(run)
    assert fuse(resume=place.as_uri()).folder == run
    assert_same(run, undisturbed)
    assert not place.exists()


@pytest.mark.ray
def test_a_killed_run_on_ray_is_gone_on_with_elsewhere(tmp_path: Path, undisturbed: FusionResult) -> None:
    run, driver = begun(tmp_path, engine={"mode": "ray", "prefetch": 2})
    driver.wait_until(newest_is(run, 5))
    driver.end(signal.SIGKILL)
    reached = int(checkpoints(run)[-1][-8:])
    # With another number of actors and another prefetch depth, stopped again, then in one process.
    again = Driver(tmp_path, "--resume", str(run), "engine.party_actors=1", "engine.prefetch=0")
    again.wait_until(newest_is(run, reached + 1))
    # To its process group, of which Ray's own processes are not: without its store Ray ends a driver at once.
    code, _, errors = again.end(signal.SIGTERM)
    assert code == 143, errors
    assert f"to go on: dfmf fuse --resume {run}" in errors
    assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
    fuse(None, "engine.mode=local", resume=run)
    assert_same(run, undisturbed)


@pytest.mark.parametrize(
    ("signals", "code"),
    [((signal.SIGINT,), 130), ((signal.SIGINT, signal.SIGINT), 130), ((signal.SIGTERM,), 143)],
)
def test_a_run_that_is_asked_to_stop_keeps_the_iteration_in_work(
    signals: tuple[int, ...], code: int, tmp_path: Path, undisturbed: FusionResult
) -> None:
    run, driver = begun(tmp_path)
    driver.wait_until(newest_is(run, 7))
    before = checkpoints(run)
    got, _, errors = driver.end(*signals)
    assert got == code, errors
    assert errors.count("\n") == 1
    assert errors.startswith("stopped")
    if len(signals) == 1:
        assert checkpoints(run)[-1] > before[-1]
        assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
    fuse(resume=run)
    assert_same(run, undisturbed)


def test_a_second_driver_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    run, driver = begun(tmp_path, schedule=SCHEDULE | {"epochs": 1000})
    driver.wait_until(newest_is(run, 1))
    code, _, errors = Driver(tmp_path, "--resume", str(run)).end()
    assert (code, errors.count("\n")) == (2, 1)
    assert f"{run} is in use by process {driver.process.pid} on " in errors
    assert driver.end(signal.SIGINT)[0] == 130


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints of the main phase, without its driver: two, or three if the kill came between a
    write and a removal."""
    run, driver = begun(tmp_path_factory.mktemp("killed"))
    driver.wait_until(newest_is(run, 7))
    driver.end(signal.SIGKILL)
    return run


def copy_of(run: Path, folder: Path) -> Path:
    subprocess.run(["cp", "-r", str(run), str(folder / "one")], check=True)
    return folder / "one"


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flipped, cut_off, Path.unlink])
@pytest.mark.parametrize("name", ["MANIFEST.json", "student.safetensors", "party-1.safetensors"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    name: str,
    damage: Callable[[Path], None],
    killed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from orchestrator.checkpoints import Checkpoints
    from orchestrator.storage import open_storage

    run = copy_of(killed, tmp_path)
    *others, newest = checkpoints(run)
    before = others[-1]
    damage(run / "checkpoints" / newest / name)
    identity = json.loads((run / "checkpoints" / before / "MANIFEST.json").read_text())["content"]["identity"]
    said: list[str] = []
    kept = Checkpoints(open_storage(str(run / "checkpoints")), 2, identity, said.append)
    snapshot = kept.load()
    assert snapshot.student is not None
    assert checkpoints(run) == others
    assert len(said) == 1
    assert f"{newest} is damaged" in said[0]
    kept.save(snapshot)  # Past the damaged one.
    assert kept.load().iterations == snapshot.iterations


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    killed: Path, tmp_path: Path, undisturbed: FusionResult
) -> None:
    run = copy_of(killed, tmp_path)
    newest = checkpoints(run)[-1]
    flipped(run / "checkpoints" / newest / "party-0.safetensors")
    about = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps({**about, "processor": "Another One"}))
    code, output, _ = Driver(tmp_path, "--resume", str(run)).end()
    assert code == 0
    assert "processor: Another One at the start, " in output
    assert (
        f"{newest} is damaged (party-0.safetensors: its hash does not match); using the one before" in output
    )
    for name in FILES:
        assert (run / name).read_bytes() == (undisturbed.folder / name).read_bytes(), name


def test_a_checkpoint_of_another_configuration_is_refused(killed: Path, tmp_path: Path) -> None:
    run = copy_of(killed, tmp_path)
    there = checkpoints(run)
    with pytest.raises(UserError) as error:
        fuse(None, "method.alpha=0.5", "seed=1", resume=run)
    assert "is of another configuration" in str(error.value)
    assert "seed: 0 there, 1 here" in str(error.value)
    assert "method.alpha: 0.1 there, 0.5 here" in str(error.value)
    with pytest.raises(UserError, match=r"engine\.threads: 1 there, 2 here"):
        fuse(None, "engine.threads=2", resume=run)
    torch.set_num_threads(1)
    assert checkpoints(run) == there


def test_what_cannot_be_gone_on_with_is_refused(
    tmp_path: Path, undisturbed: FusionResult, killed: Path
) -> None:
    with pytest.raises(UserError, match="holds no run"):
        fuse(resume=tmp_path)
    with pytest.raises(UserError, match="RUN: name a configuration"):
        fuse()
    taken = str(killed / "checkpoints")
    with pytest.raises(UserError, match=r"checkpoint\.to: .* holds the checkpoints of another run"):
        fuse(config(tmp_path) | {"checkpoint": {"to": taken}})
    assert not (tmp_path / "runs" / "one").exists()
    assert fuse(resume=undisturbed.folder).summary == undisturbed.summary


@pytest.mark.parametrize("flush", [2, 4])
def test_a_disk_that_is_full_is_one_line_and_with_room_the_run_goes_on(
    flush: int, tmp_path: Path, undisturbed: FusionResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[int] = []

    def full(descriptor: int) -> None:
        epochs.append(descriptor)
        if len(epochs) == flush:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = tmp_path / "runs" / "one"
    monkeypatch.setattr(journal, "os", SimpleNamespace(fsync=full))
    with pytest.raises(RunFailed) as error:
        fuse(config(tmp_path))
    line = str(error.value)
    assert line.startswith(f"{run}: No space left on device; ")
    assert line.endswith(f"; with room there again, to go on: dfmf fuse --resume {run}")
    assert "\n" not in line
    fuse(resume=run)
    assert_same(run, undisturbed)
