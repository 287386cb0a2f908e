"""Ray as it is found: somebody else's cluster, one with too little, a submitted job, a lost actor.

Everything runs as processes: Ray reads its authentication mode once, when it is imported.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.tiny import tiny_run

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).parent / "ray")
ADDRESS = "127.0.0.1:26379"
DASHBOARD = "http://127.0.0.1:28265"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 32}
RESULTS = ("student.safetensors", "teachers/party-0.safetensors", "parties/party-1/assistant.safetensors")


def environment(**more: str) -> dict[str, str]:
    """As in an activated virtual environment, in which a job's `python` is found."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **more}


def config_file(folder: Path, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    tree = tiny_run(output=str(folder / "runs"), name="one", tracking={"enabled": False}, **changes)
    (folder / "run.yaml").write_text(yaml.safe_dump(tree))
    return folder / "run.yaml"


def fuse(path: Path, *overrides: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator", "fuse", str(path), *overrides]
    return subprocess.run(command, env=env, cwd=path.parent, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def head() -> Iterator[None]:
    """A cluster that a person started with `ray start`, with token authentication."""
    command = [RAY, "start", "--head", "--block", "--num-cpus=4", "--disable-usage-stats"]
    command += ["--node-ip-address=127.0.0.1", "--port=26379", "--dashboard-port=28265"]
    command += ["--dashboard-agent-listen-port=25365", "--ray-client-server-port=21001"]
    # Ray gives a submitted job the cluster that was started last in the folder of its head.
    with started_in_a_folder(command):
        yield


@pytest.fixture(scope="module")
def second_node(head: None) -> Iterator[None]:
    """Another node of that cluster, with its own raylet and object store."""
    command = [RAY, "start", f"--address={ADDRESS}", "--block", "--num-cpus=4", "--disable-usage-stats"]
    # A raylet clears away packages that nobody on its node uses any more.
    with started_in_a_folder(command):
        yield


@contextlib.contextmanager
def started_in_a_folder(command: list[str]) -> Iterator[None]:
    """Run `ray start` in a folder of its own, of a short name: a path for Ray's sockets has 107 bytes at
    most."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        process = start([*command, "--temp-dir", folder], Path(folder))
        yield
        stop(process)


def start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment(**TOKEN), cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
    started(process, folder / "log")
    return process


def started(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while "Ray runtime started" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.wait(timeout=60)
    for child in family:
        if child.is_running():
            child.kill()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run by the sequential engine."""
    path = config_file(tmp_path_factory.mktemp("reference"))
    done = fuse(path, env=environment())
    assert done.returncode == 0, done.stderr
    return path.parent / "runs" / "one"


def same_bits(folder: Path, reference: Path) -> bool:
    return all((folder / name).read_bytes() == (reference / name).read_bytes() for name in RESULTS)


def test_a_private_cluster_beside_somebody_elses(head: None, reference: Path, tmp_path: Path) -> None:
    done = fuse(config_file(tmp_path), "engine.mode=ray", env=environment())
    assert done.returncode == 0, done.stderr
    assert same_bits(tmp_path / "runs" / "one", reference)


def test_a_run_on_a_cluster_has_the_bits_of_a_sequential_one(
    head: None, reference: Path, tmp_path: Path
) -> None:
    done = fuse(
        config_file(tmp_path), "engine.mode=ray", f"engine.address={ADDRESS}", env=environment(**TOKEN)
    )
    assert done.returncode == 0, done.stderr
    assert same_bits(tmp_path / "runs" / "one", reference)


def test_too_few_gpus_are_said_with_what_there_is_and_how_long_it_waits(head: None, tmp_path: Path) -> None:
    wish = [
        "engine.mode=ray",
        f"engine.address={ADDRESS}",
        "engine.gpus_per_party=1",
        "engine.wait_seconds=4",
    ]
    done = fuse(config_file(tmp_path), *wish, env=environment(**TOKEN))
    need = (
        "engine.gpus_per_party: the student and 2 parties need 2 GPUs and 3 CPUs, "
        "the cluster has 0 GPUs and 4 CPUs"
    )
    assert f"{need}; waiting up to " in done.stdout
    assert done.stderr == f"{need}; it did not within 4 s (engine.wait_seconds)\n"
    assert done.returncode == 2
    assert not list((tmp_path / "runs").glob("*"))


def test_no_cluster_at_the_address_is_one_line(tmp_path: Path) -> None:
    done = fuse(config_file(tmp_path), "engine.mode=ray", "engine.address=127.0.0.1:1", env=environment())
    assert done.returncode == 2
    assert done.stderr.startswith("engine.address: no Ray cluster at 127.0.0.1:1 (")
    assert len(done.stderr.splitlines()) == 1
    assert not list((tmp_path / "runs").glob("*"))


def submit(path: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator", "submit", path.name, *overrides, "--address", DASHBOARD]
    return subprocess.run(
        command, env=environment(**TOKEN), cwd=path.parent, capture_output=True, text=True, timeout=300
    )


def test_a_job_submitted_with_rays_own_command_runs_and_leaves_its_results(
    head: None, reference: Path, tmp_path: Path
) -> None:
    run = config_file(tmp_path, engine={"mode": "ray"})
    done = subprocess.run(
        [
            *(RAY, "job", "submit", "--address", DASHBOARD, "--working-dir", str(ROOT)),
            *("--", sys.executable, "-m", "orchestrator", "fuse", str(run)),
        ],
        env=environment(**TOKEN),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fused student" in done.stdout
    assert json.loads((tmp_path / "runs" / "one" / "summary.json").read_text())["status"] == "finished"
    assert same_bits(tmp_path / "runs" / "one", reference)


def test_dfmf_submit_sends_the_code_along_and_spreads_over_nodes(
    second_node: None, reference: Path, tmp_path: Path
) -> None:
    done = submit(config_file(tmp_path), "engine.mode=ray", "engine.placement=SPREAD")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "submitted as raysubmit_" in done.stdout
    assert "fused student" in done.stdout
    assert same_bits(tmp_path / "runs" / "one", reference)


def test_dfmf_submit_has_the_exit_code_and_the_log_of_a_failed_job(head: None, tmp_path: Path) -> None:
    done = submit(config_file(tmp_path), "engine.mode=ray", "method.alpha=-1")
    assert done.returncode == 1
    assert "method.alpha: must be at least 0 (got -1.0)" in done.stdout
    assert "failed, exit code 2" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_job_that_is_stopped_is_gone_on_with_by_another(head: None, tmp_path: Path) -> None:
    # Stopped by Ray's own command, submitted again with `dfmf submit --resume`.
    schedule = {"warmup_epochs": 1, "epochs": 60, "iterations_per_epoch": 5, "batch_size": 32}
    path = config_file(
        tmp_path, engine={"mode": "ray"}, schedule=schedule, checkpoint={"every_iterations": 2}
    )
    folder = tmp_path / "runs" / "one"
    done = submit(path, "--no-wait")
    assert done.returncode == 0, done.stderr
    job = done.stdout.split()[2].rstrip(";")
    deadline = time.monotonic() + 200
    while len(list(folder.glob("checkpoints/*/student.safetensors"))) < 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    subprocess.run(
        [RAY, "job", "stop", "--address", DASHBOARD, job], env=environment(**TOKEN), check=True, timeout=120
    )
    assert json.loads((folder / "summary.json").read_text())["status"] == "interrupted"
    again = submit(path, "--resume", str(folder))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "going on from iteration" in again.stdout
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["iterations"]) == ("finished", 300)


def test_no_dashboard_at_the_address_is_one_line(tmp_path: Path) -> None:
    path = config_file(tmp_path)
    command = [sys.executable, "-m", "orchestrator", "submit", path.name, "--address", "http://127.0.0.1:1"]
    done = subprocess.run(
        command, env=environment(), cwd=path.parent, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.startswith("--address: http://127.0.0.1:1: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_student_on_several_workers_is_its_parties_critic(tmp_path: Path) -> None:
    short = ("method.name=dfq", "schedule.epochs=3", "schedule.iterations_per_epoch=1", "schedule.m_s=2")
    path, alone = config_file(tmp_path / "workers"), config_file(tmp_path / "alone")
    fast = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}
    done = fuse(path, "engine.mode=ray", "engine.student_workers=2", *short, env=environment(**fast))
    assert done.returncode == 0, done.stderr
    assert fuse(alone, *short, env=environment()).returncode == 0
    folder, reference = (one.parent / "runs" / "one" for one in (path, alone))
    for file in ("student", "parties/party-0/generator", "parties/party-1/generator"):
        ours, theirs = (load_file(one / f"{file}.safetensors") for one in (folder, reference))
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-4)


def test_a_student_on_several_workers_learns_what_one_learns(tmp_path: Path) -> None:
    # Few updates: rounding differs, and grows with every update.
    short = ("schedule.epochs=2", "schedule.iterations_per_epoch=1", "schedule.m_s=2")
    path, alone = config_file(tmp_path / "workers"), config_file(tmp_path / "alone")
    fast = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}
    done = fuse(path, "engine.mode=ray", "engine.student_workers=2", *short, env=environment(**fast))
    assert done.returncode == 0, done.stderr
    assert fuse(alone, *short, env=environment()).returncode == 0
    folder, reference = (one.parent / "runs" / "one" for one in (path, alone))
    ours, theirs = (load_file(one / "student.safetensors") for one in (folder, reference))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-4)
    # The parties never look at the student, so theirs are the same bits.
    assert all((folder / name).read_bytes() == (reference / name).read_bytes() for name in RESULTS[1:])
    kept = list((folder / "train").rglob("student.safetensors"))
    assert len(kept) == 1
    names = load_file(kept[0]).keys()
    assert any(name.endswith("/momentum_buffer") for name in names)


def test_a_party_that_may_not_be_restarted_is_one_line_and_the_last_epoch_is_kept(tmp_path: Path) -> None:
    schedule = {"warmup_epochs": 0, "epochs": 1000, "iterations_per_epoch": 2, "batch_size": 32}
    path = config_file(tmp_path, schedule=schedule)
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "fuse", str(path), "engine.mode=ray", "engine.restarts=0"],
        env=environment(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        folder = tmp_path / "runs" / "one"
        errors = kill_a_party_of(process, folder)
    finally:
        process.kill()
    assert process.returncode == 1, errors
    assert len(errors.splitlines()) == 1, errors
    assert "failed" in errors
    assert f"to go on: dfmf fuse --resume {folder}" in errors
    assert (folder / "student.safetensors").exists()
    assert (folder / "error.txt").read_text()


def kill_a_party_of(process: subprocess.Popen[str], folder: Path) -> str:
    """SIGKILL one party once there is a student; what the run then says."""
    deadline = time.monotonic() + 200
    while not (folder / "student.safetensors").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    family = psutil.Process(process.pid).children(recursive=True)
    party = next(child for child in family if "PartyWorker" in " ".join(child.cmdline()))
    party.send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    return errors
