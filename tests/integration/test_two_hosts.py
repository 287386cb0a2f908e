"""Two hosts with addresses of their own, as network namespaces; needs the right to make them."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_cluster import RAY, TOKEN, config_file, environment, same_bits, started, stop

pytestmark = [pytest.mark.ray, pytest.mark.slow]
HOSTS = {"dfmf-a": "10.77.0.1", "dfmf-b": "10.77.0.2"}
PORT = 26479


def ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0


def permitted() -> bool:
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    name = f"dfmf-try-{os.getpid()}"  # Several processes may ask at once.
    made = ip("netns", "add", name)
    ip("netns", "delete", name)
    return made


@pytest.fixture
def cluster() -> Iterator[None]:
    ip("link", "add", "dfmf-a", "type", "veth", "peer", "name", "dfmf-b")
    processes: list[subprocess.Popen[bytes]] = []
    folders: list[Path] = []
    try:
        for host, address in HOSTS.items():
            assert ip("netns", "add", host)
            assert ip("link", "set", host, "netns", host)
            assert ip("-n", host, "address", "add", f"{address}/24", "dev", host)
            assert ip("-n", host, "link", "set", host, "up")
            assert ip("-n", host, "link", "set", "lo", "up")
        for host, address in HOSTS.items():
            head = ["--head", f"--port={PORT}", "--include-dashboard=false"]
            role = head if not processes else [f"--address={HOSTS['dfmf-a']}:{PORT}"]
            folder = Path(tempfile.mkdtemp(prefix=host))  # Short: sockets lie in it.
            folders.append(folder)
            command = ["ip", "netns", "exec", host, RAY, "start", *role, f"--node-ip-address={address}"]
            # The first has room for two of the three actors, so the third is on the other host.
            command += ["--block", "--num-cpus=2", "--disable-usage-stats"]
            command += ["--temp-dir", str(folder)]
            with (folder / "log").open("w") as log:
                process = subprocess.Popen(
                    command, env=environment(**TOKEN), cwd=folder, stdout=log, stderr=subprocess.STDOUT
                )
            processes.append(process)
            started(process, folder / "log")
        yield
    finally:
        for process in reversed(processes):
            stop(process)
        for host in HOSTS:
            ip("netns", "delete", host)
        ip("link", "delete", "dfmf-a")
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(not permitted(), reason="network namespaces are not permitted here")
def test_a_run_over_two_hosts_has_the_bits_of_a_sequential_one(cluster: None, tmp_path: Path) -> None:
    run, alone = config_file(tmp_path / "run"), config_file(tmp_path / "alone")
    command = [sys.executable, "-m", "orchestrator", "fuse"]
    on_first_host = ["ip", "netns", "exec", "dfmf-a", *command, str(run)]
    changes = [
        "engine.mode=ray",
        f"engine.address={HOSTS['dfmf-a']}:{PORT}",
        "engine.placement=SPREAD",
        "engine.labelling=parties",
    ]
    done = subprocess.run(
        [*on_first_host, *changes],
        env=environment(**TOKEN),
        cwd=run.parent,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sequential = subprocess.run(
        [*command, str(alone)], env=environment(), cwd=alone.parent, capture_output=True, check=False
    )
    assert sequential.returncode == 0
    assert same_bits(run.parent / "runs" / "one", alone.parent / "runs" / "one")
