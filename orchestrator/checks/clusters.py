"""Ray: the folders and the token that it needs, and whether it starts or answers."""

import ipaddress
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from orchestrator.checks.finding import Finding, one_line
from orchestrator.cluster import PRIVATE_OBJECT_STORE_BYTES, ROOT
from orchestrator.config import RunConfig

LONGEST_SOCKET = "ray/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store"
"""What Ray puts behind its temporary folder at most."""
SOCKET_BYTES = 107
"""The longest path that a Unix socket can have on Linux."""
PATIENCE_SECONDS = 150.0
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Ray keeps its object store
# Standard input carries the section `engine`; the current folder must not come before this code.
PROBE = "import sys; sys.path.insert(0, sys.argv[1]); from orchestrator.checks.ray_probe import main; main()"


def temporary_folder() -> Finding:
    """Whether Ray's folder can be written, and is short enough for the sockets in it."""
    folder = ray_folder()
    length = len(os.fsencode(folder / LONGEST_SOCKET))
    mend = "export RAY_TMPDIR=FOLDER with a short path that you can write to, such as /tmp"
    if length > SOCKET_BYTES:
        says = f"the paths of sockets under {folder} take {length} bytes, Linux allows {SOCKET_BYTES}"
        return Finding("temporary folder", "problem", says, mend)
    existing = folder / "ray" if (folder / "ray").exists() else folder
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding("temporary folder", "problem", f"{existing} cannot be written", mend)
    says = f"{folder}: sockets' paths take {length} of {SOCKET_BYTES} bytes"
    return Finding("temporary folder", "ok", says)


def shared_memory() -> Finding:
    """Whether the object store of a private cluster fits into /dev/shm."""
    needed = PRIVATE_OBJECT_STORE_BYTES / 2**20
    mend = f"give the container more shared memory: docker run --shm-size={2 * needed:.0f}m"
    if not SHARED_MEMORY.is_dir():
        return Finding("shared memory", "warning", f"no {SHARED_MEMORY}: Ray uses a slow disk", mend)
    free = shutil.disk_usage(SHARED_MEMORY).free / 2**20
    says = f"{free:,.0f} MiB free in {SHARED_MEMORY}, the object store takes {needed:.0f}"
    if free < needed:
        return Finding("shared memory", "warning", f"{says}: Ray uses a slow disk instead", mend)
    return Finding("shared memory", "ok", says)


def token() -> Finding:
    """Whether Ray asks for a token, and nobody else can read it."""
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode is not None and mode.lower() not in ("token", "disabled"):
        says = f"RAY_AUTH_MODE={mode!r} is unknown to Ray, which then asks nobody for a token"
        return Finding("token", "problem", says, "export RAY_AUTH_MODE=token")
    if mode is not None and mode.lower() == "disabled":
        says = "RAY_AUTH_MODE=disabled: whoever reaches Ray's ports runs code here"
        return Finding("token", "warning", says, "unset RAY_AUTH_MODE, or export RAY_AUTH_MODE=token")
    if "RAY_AUTH_TOKEN" in os.environ:
        return Finding("token", "ok", "given in RAY_AUTH_TOKEN")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        permissions = path.stat().st_mode & 0o777
    except OSError:
        if mode is not None or "RAY_AUTH_TOKEN_PATH" in os.environ:
            mend = "ray get-auth-token --generate, then chmod 600 on the file"
            return Finding("token", "problem", f"Ray is to use a token, but {path} is not there", mend)
        return Finding("token", "ok", "none yet; Ray makes one for a private cluster (from 2.59 on)")
    if permissions & 0o077:
        says = f"others on this machine can read Ray's token: {path} has mode {permissions:04o}"
        return Finding("token", "warning", says, f"chmod 600 {path}")
    return Finding("token", "ok", f"{path} is readable by its owner only")


def ray_works(config: RunConfig) -> list[Finding]:
    """Start a private cluster or connect to the one that is named, and run a task there."""
    address = config.engine.cluster_address
    logs = ray_folder() / "ray" / "session_latest" / "logs"
    where = f"the cluster at {address}" if address else "a private cluster"
    mend = (
        "start it, or correct engine.address or RAY_ADDRESS"
        if address
        else f"mend what is wrong above, or read the logs in {logs}"
    )
    started = time.monotonic()
    try:
        found = probe(config)
    except subprocess.TimeoutExpired:
        says = f"{where} ran no task within {PATIENCE_SECONDS:.0f} s"
        return [Finding("ray", "problem", says, mend)]
    if "error" in found:
        return [Finding("ray", "problem", one_line(found["error"]), mend)]
    if not address:
        shutil.rmtree(ray_folder() / "ray" / found["session"], ignore_errors=True)
    if found["differences"]:
        says = f"{where}: {'; '.join(found['differences'])}"
        return [Finding("ray", "problem", says, "install the same versions everywhere; see: imports")]
    says = (
        f"{where} ran a task: {found['nodes']} node{'' if found['nodes'] == 1 else 's'}, {found['cpus']:g} "
        f"CPUs, {found['gpus']:g} GPUs, Ray {found['ray']} ({time.monotonic() - started:.1f} s)"
    )
    return [Finding("ray", "ok", says), *([dashboard(found["dashboard"])] if address else [])]


def probe(config: RunConfig) -> dict[str, Any]:
    """What `orchestrator.checks.ray_probe` prints; the key `error` if it ended without that.

    Raises:
        subprocess.TimeoutExpired: it did not end.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(ROOT)],
        input=config.engine.model_dump_json(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    lines = done.stdout.splitlines()
    if done.returncode == 0 and lines:
        return dict(json.loads(lines[-1]))
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return {"error": f"Ray did not start: {last}"}


def dashboard(url: str | None) -> Finding:
    """Whether others than this machine reach the dashboard, which runs jobs, without a token."""
    if not url:
        return Finding("dashboard", "ok", "none")
    address = url if "://" in url else f"http://{url}"
    asks = _asks_for_a_token(address)
    if asks is None:
        return Finding("dashboard", "ok", f"{address} is not reachable from here")
    if asks:
        return Finding("dashboard", "ok", f"{address} asks for a token")
    if _is_loopback(address):
        return Finding("dashboard", "ok", f"{address} asks for no token, but only this machine reaches it")
    says = f"whoever reaches {address} runs code on the cluster: it asks for no token"
    return Finding(
        "dashboard", "warning", says, "start Ray with RAY_AUTH_MODE=token and --dashboard-host=127.0.0.1"
    )


def ray_folder() -> Path:
    """The folder that Ray makes its own in."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - Ray's choice


def _asks_for_a_token(address: str) -> bool | None:
    """None if there is no answer."""
    try:
        with urllib.request.urlopen(f"{address}/api/jobs/", timeout=10):  # noqa: S310 - http, from Ray
            return False
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    except OSError:
        return None


def _is_loopback(address: str) -> bool:
    host = address.split("://", 1)[1].rsplit(":", 1)[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
