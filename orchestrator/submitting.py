"""A run as a job on a cluster: what `dfmf submit` does on top of `ray job submit`."""

import asyncio
import fnmatch
import logging
import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.errors import Interrupted, RunFailed, UserError
from orchestrator.secrets import redact

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("fusion", "actors", "orchestrator", "tune_spaces")
UPLOAD_LIMIT = 512 * 2**20
"""Bytes that Ray takes as a working directory."""
LARGEST_NAMED = 5
STOP_SECONDS = 30
"""What `ray job stop` gives a run between SIGTERM and SIGKILL; Ray's own 3 s are too few to write
anything."""


def submit(
    run: str | None,
    overrides: Sequence[str],
    *,
    resume: str | None,
    address: str,
    working_dir: Path,
    excludes: Sequence[str],
    follow: bool,
    say: Callable[[str], None],
) -> None:
    """Send `working_dir` and this code to the cluster whose dashboard is at `address` and run ``dfmf fuse``.

    `resume` is the folder of a run to go on with, or where its checkpoints lie; all nodes must see it.

    Raises:
        UserError: the directory is too large to be sent, there is no cluster, or the command line, which
        everybody sees who may see the cluster's jobs, holds a secret.
        RunFailed: the job did.
    """
    check_upload(working_dir, excludes)
    arguments = [*([run] if run else []), *overrides, *(["--resume", resume] if resume else [])]
    for argument, hidden in zip(arguments, redact(arguments), strict=True):
        if argument != hidden:
            raise UserError(
                f"{hidden}: holds a secret, and a job's command is no secret; give the nodes "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in their "
                "environment"
            )
    from ray.job_submission import JobStatus, JobSubmissionClient

    logging.disable(logging.WARNING)  # Ray's own account of the upload.
    try:
        client = JobSubmissionClient(address)
        job = client.submit_job(
            entrypoint=shlex.join(["python", "-m", "orchestrator", "fuse", *arguments]),
            runtime_env={
                "working_dir": str(working_dir),
                "py_modules": [str(ROOT / name) for name in PACKAGES],
                "excludes": list(excludes),
                "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)},
            },
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"--address: {address}: {str(error).splitlines()[0]}") from error
    say(f"submitted as {job}; stop it with: ray job stop --address {address} {job}")
    if not follow:
        return

    async def tail() -> None:
        async for lines in client.tail_job_logs(job):
            say(lines.rstrip("\n"))

    try:
        asyncio.run(tail())
    except KeyboardInterrupt as error:
        raise Interrupted(f"no longer looking on; {job} runs on") from error
    info = client.get_job_info(job)
    if info.status != JobStatus.SUCCEEDED:
        code = f", exit code {info.driver_exit_code}" if info.driver_exit_code else ""
        raise RunFailed(f"{job}: {str(info.status).lower()}{code}")


def check_upload(working_dir: Path, excludes: Sequence[str]) -> None:
    """Refuse a directory that Ray would refuse after packing it, and name what makes it large.

    Raises:
        UserError: it is larger than Ray's limit, or is none.
    """
    if not working_dir.is_dir():
        raise UserError(f"--working-dir: {working_dir} is no directory")
    sizes = {
        name: (working_dir / name).stat().st_size
        for name in _files(working_dir)
        if not _excluded(name, excludes) and (working_dir / name).is_file()
    }
    total = sum(sizes.values())
    if total < UPLOAD_LIMIT:
        return
    largest = sorted(sizes, key=lambda name: -sizes[name])[:LARGEST_NAMED]
    named = ", ".join(f"{name} ({sizes[name] / 2**20:,.0f} MiB)" for name in largest)
    raise UserError(
        f"--working-dir: {working_dir} has {total / 2**20:,.0f} MiB, Ray takes {UPLOAD_LIMIT / 2**20:.0f}; "
        f"the largest files are {named}: leave them out with --exclude or a .rayignore file, and name data "
        "by a path that all nodes see"
    )


def _files(folder: Path) -> list[str]:
    """Files that Ray would pack: all, or in a git repository those that git does not ignore."""
    listed = subprocess.run(
        ["git", "-C", str(folder), "ls-files", "-co", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        return listed.stdout.splitlines()
    return [
        str((Path(base) / name).relative_to(folder)) for base, _, names in os.walk(folder) for name in names
    ]


def _excluded(name: str, patterns: Sequence[str]) -> bool:
    """As in a .gitignore file: a pattern without a slash names files and folders at any depth."""
    path = Path(name)
    candidates = [*path.parts, *(str(parent) for parent in path.parents), name]
    return any(fnmatch.fnmatch(one, pattern.strip("/")) for pattern in patterns for one in candidates)
