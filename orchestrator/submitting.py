"""A run as a job on a cluster: what `dfmf submit` does on top of `ray job submit`."""

import asyncio
import logging
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from orchestrator.errors import Interrupted, RunFailed, UserError
from orchestrator.secrets import redact

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("fusion", "actors", "orchestrator", "tune_spaces")
UPLOAD_LIMIT = 512 * 2**20
"""Bytes that Ray takes as a working directory."""
LARGEST_NAMED = 5
PATTERNS = "gitwildmatch"
NO_GITIGNORE = "RAY_RUNTIME_ENV_IGNORE_GITIGNORE"
"""Ray's: "1" has it send what .gitignore files name."""
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
    import aiohttp
    from ray.exceptions import RayError
    from ray.job_submission import JobStatus, JobSubmissionClient

    from orchestrator.tracking import first_line

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
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise UserError(f"--address: {address}: {first_line(error)}") from error
    say(f"submitted as {job}; stop it with: ray job stop --address {address} {job}")
    if not follow:
        return

    async def tail() -> None:
        async for lines in client.tail_job_logs(job):
            say(lines.rstrip("\n"))

    look = f"ray job logs --address {address} --follow {job}"
    try:
        asyncio.run(tail())
        info = client.get_job_info(job)
    except KeyboardInterrupt as error:
        raise Interrupted(f"no longer looking on; {job} runs on") from error
    except (OSError, RuntimeError, aiohttp.ClientError) as error:  # A tunnel that broke, say.
        raise RunFailed(
            f"--address: {address}: lost while looking on ({first_line(error)}); {job} may run on: {look}"
        ) from error
    if not info.status.is_terminal():
        raise RunFailed(f"--address: {address}: lost while looking on; {job} runs on: {look}")
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
    try:
        sizes = {path: path.stat().st_size for path in _packed(working_dir, excludes)}
    except ImportError:
        return  # A Ray whose own parts are elsewhere: it refuses what is too large by itself.
    except OSError as error:
        raise UserError(f"--working-dir: {error.filename}: {error.strerror}") from error
    total = sum(sizes.values())
    if total < UPLOAD_LIMIT:
        return
    largest = sorted(sizes, key=lambda path: -sizes[path])[:LARGEST_NAMED]
    named = ", ".join(f"{path.relative_to(working_dir)} ({sizes[path] / 2**20:,.0f} MiB)" for path in largest)
    raise UserError(
        f"--working-dir: {working_dir} has {total / 2**20:,.0f} MiB, Ray takes {UPLOAD_LIMIT / 2**20:.0f}; "
        f"the largest files are {named}: leave them out with --exclude or a .rayignore file, and name data "
        "by a path that all nodes see"
    )


def _packed(folder: Path, excludes: Sequence[str]) -> Iterator[Path]:
    """Files that Ray packs: all but what `excludes`, its own defaults, and .gitignore and .rayignore files
    name, wherever in the folder these lie (git itself is not asked)."""
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.thirdparty.pathspec import PathSpec

    files = [".rayignore"] if os.environ.get(NO_GITIGNORE) == "1" else [".gitignore", ".rayignore"]

    def below(place: Path, ignored: list[tuple[Path, PathSpec]]) -> Iterator[Path]:
        lists = [place / name for name in files if (place / name).is_file()]
        own = [PathSpec.from_lines(PATTERNS, one.read_text(errors="replace").splitlines()) for one in lists]
        ignored = [*ignored, *((place, spec) for spec in own)]
        for path in place.iterdir():
            if any(spec.match_file(str(path.relative_to(root))) for root, spec in ignored):
                continue
            if path.is_dir():
                yield from below(path, ignored)
            elif path.is_file():
                yield path

    patterns = [*get_runtime_env_default_excludes(), *excludes]
    return below(folder, [(folder, PathSpec.from_lines(PATTERNS, patterns))])
