"""Ray as it is found: somebody else's cluster, a cluster with too little, a submitted job, a lost actor."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
import yaml

from orchestrator import RunFailed, UserError, fuse
from orchestrator.cluster import cluster, placed
from orchestrator.config import EngineSettings
from tests.tiny import tiny_run

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster that a person started with `ray start`, with a token; its address."""
    folder = tmp_path_factory.mktemp("ray")
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0" * 32,
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    ports = ["--port=26379", "--dashboard-port=28265", "--dashboard-agent-listen-port=25365", "--ray-client-server-port=21001"]
    command = [str(BIN / "ray"), "start", "--head", *ports, "--num-cpus=4", "--block", "--disable-usage-stats"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 32}
    deadline = time.monotonic() + 120
    while "Ray runtime started" not in (folder / "log").read_text():
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.5)
    yield "127.0.0.1:26379"
    for child in psutil.Process(process.pid).children(recursive=True):
        child.terminate()
    process.terminate()
    process.wait(timeout=60)
    del os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]


def small(folder: Path, **changes: object) -> dict[str, object]:
    return tiny_run(output=str(folder / "runs"), name="one", tracking={"enabled": False}, **changes)


def test_a_private_cluster_beside_somebody_elses(head: str, tmp_path: Path) -> None:
    result = fuse(small(tmp_path, engine={"mode": "ray"}))
    assert result.summary["status"] == "finished"
    with cluster(EngineSettings(address=head)):
        assert len(ray.nodes()) == 1


def test_a_run_on_a_cluster_has_the_bits_of_a_local_one(head: str, tmp_path: Path) -> None:
    there = fuse(small(tmp_path / "there", engine={"mode": "ray", "address": head}))
    here = fuse(small(tmp_path / "here"))
    for name in ("student.safetensors", "teachers/party-0.safetensors", "parties/party-1/assistant.safetensors"):
        assert (there.folder / name).read_bytes() == (here.folder / name).read_bytes()


def test_too_few_gpus_are_said_with_what_there_is_and_how_long_it_waits(head: str) -> None:
    heard: list[str] = []
    engine = EngineSettings(address=head, gpus_per_party=1.0, wait_seconds=4.0)
    with cluster(engine), pytest.raises(UserError) as error, placed(2, engine, heard.append):
        pass
    need = "engine.gpus_per_party: the student and 2 parties need 2 GPUs and 3 CPUs, the cluster has 0 GPUs and 4 CPUs"
    assert heard[0].startswith(f"{need}; waiting up to ")
    assert str(error.value) == f"{need}; it did not within 4 s (engine.wait_seconds)"


def test_no_cluster_at_the_address_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"engine.address: no Ray cluster at 127.0.0.1:1 "):
        fuse(small(tmp_path, engine={"mode": "ray", "address": "127.0.0.1:1"}))
    assert not list((tmp_path / "runs").glob("*"))


def test_a_submitted_job_runs_and_leaves_its_results(head: str, tmp_path: Path) -> None:
    run = tmp_path / "run.yaml"
    run.write_text(yaml.safe_dump(small(tmp_path, engine={"mode": "ray"})))
    done = subprocess.run(
        [
            *(str(BIN / "ray"), "job", "submit", "--address", "http://127.0.0.1:28265", "--working-dir", str(ROOT)),
            *("--", sys.executable, "-m", "orchestrator", "fuse", str(run)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fused student" in done.stdout
    assert json.loads((tmp_path / "runs" / "one" / "summary.json").read_text())["status"] == "finished"


def test_a_lost_party_is_one_line_and_the_last_epoch_is_kept(tmp_path: Path) -> None:
    schedule = {"warmup_epochs": 0, "epochs": 1000, "iterations_per_epoch": 2, "batch_size": 32}
    killer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, signal, sys, time, pathlib, psutil\n"
            "while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.2)\n"
            "ours = psutil.Process(int(sys.argv[2])).children(recursive=True)\n"
            "os.kill(next(p.pid for p in ours if 'PartyWorker' in ' '.join(p.cmdline())), signal.SIGKILL)\n",
            str(tmp_path / "runs" / "one" / "student.safetensors"),
            str(os.getpid()),
        ]
    )
    with pytest.raises(RunFailed) as error:
        fuse(small(tmp_path, engine={"mode": "ray"}, schedule=schedule))
    assert killer.wait(timeout=30) == 0
    assert "\n" not in str(error.value)
    assert "failed" in str(error.value)
    assert str(tmp_path / "runs" / "one") in str(error.value)
    assert (tmp_path / "runs" / "one" / "student.safetensors").exists()
    assert (tmp_path / "runs" / "one" / "error.txt").exists()
