"""Where a run's files and its MLflow run go."""

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from orchestrator.checks.finding import Finding, one_line
from orchestrator.config import RunConfig
from orchestrator.secrets import redact
from orchestrator.tracking import QUICK, tracking_uri

TOO_LITTLE, LITTLE = 2**30, 10 * 2**30
"""Bytes of free disk for a problem and for a warning."""
SLOW_SECONDS = 1.0


def disk(config: RunConfig) -> Finding:
    """Free space where the run's folder will be."""
    folder = nearest(config.output)
    free = shutil.disk_usage(folder).free
    says = f"{free / 2**30:.1f} GiB free in {folder}"
    mend = "make room, or set output=FOLDER to another disk"
    level = "problem" if free < TOO_LITTLE else "warning" if free < LITTLE else "ok"
    return Finding("disk", level, says, "" if level == "ok" else mend)  # type: ignore[arg-type]


def storage(config: RunConfig) -> Finding:
    """Write, sync, rename and lock a file as a run does, and take it away again."""
    folder = nearest(config.output)
    mend = "set output=FOLDER to a folder of yours on a local disk, or correct its permissions"
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix=".dfmf-doctor-", dir=folder) as inside:
            path = Path(inside) / "written"
            with path.open("wb") as file:
                file.write(bytes(2**20))
                file.flush()
                os.fsync(file.fileno())
            path.replace(Path(inside) / "renamed")
            seconds = time.monotonic() - started
            locks = _locks(Path(inside) / "lock")
    except OSError as error:
        return Finding("storage", "problem", f"{folder}: {error.strerror}", mend)
    if not locks:
        says = f"{folder}: a lock (flock) does not keep a second process out"
        return Finding("storage", "problem", says, "set output=FOLDER to a folder on a local disk")
    says = f"{folder} can be written, renamed in and locked ({seconds:.2f} s)"
    if seconds > SLOW_SECONDS:
        return Finding("storage", "warning", f"{says}: slow", "set output=FOLDER to a faster disk")
    return Finding("storage", "ok", says)


def tracking(config: RunConfig) -> Finding:
    """Whether the MLflow store of the configuration answers; nothing is made in it."""
    if not config.tracking.enabled:
        return Finding("tracking", "ok", "switched off (tracking.enabled)")
    uri = tracking_uri(config.tracking, Path(config.output))
    shown = redact(uri)
    if uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///"))
        if not database.exists():
            if config.tracking.uri and not database.parent.is_dir():
                says = f"{shown}: there is no folder {database.parent}"
                return Finding("tracking", "problem", says, "make that folder, or correct tracking.uri")
            return Finding("tracking", "ok", f"{shown} will be made")
    for variable, value in QUICK.items():
        os.environ.setdefault(variable, value)
    import mlflow

    started = time.monotonic()
    try:
        mlflow.MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001 - a store's driver has exceptions of its own
        says = one_line(f"{uri} does not answer ({type(error).__name__}: {error})")
        mend = "correct tracking.uri, start the server, or run with tracking.enabled=false"
        return Finding("tracking", "problem", says, mend)
    return Finding("tracking", "ok", f"{shown} answers ({time.monotonic() - started:.2f} s)")


def nearest(output: str) -> Path:
    """The folder of all runs, or the lowest above it that exists."""
    folder = Path(output).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _locks(path: Path) -> bool:
    """Whether a lock on the file keeps a second opening of it out."""
    with path.open("w") as first, path.open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
