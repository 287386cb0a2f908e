"""A run's folder: made once, never written over, every file whole or absent."""

import contextlib
import errno
import json
import os
import stat
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from orchestrator.errors import UserError, user_error
from orchestrator.lock import LOCK
from orchestrator.secrets import redact

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk or a quota is full."""


def make_run_folder(output: str, name: str | None, default_name: str) -> Path:
    """A new folder ``output/name``; without a name it is called after the configuration and the time.

    Raises:
        UserError: it is there already, or cannot be made.
    """
    folder = Path(output).absolute() / (name or f"{default_name}-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= {LOCK}:  # A start that was killed.
            return folder
        folder.mkdir()
    except FileExistsError as error:
        if not is_folder(folder.parent):
            raise UserError(f"output: {folder.parent} is a file, no folder") from error
        raise UserError(f"name: {folder} already holds a run; give another name or remove it") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise UserError(f"output: cannot write to {folder.parent}: {reason}") from error
    return folder


def taken_back(folder: Path, beginning: Collection[str]) -> bool:
    """Delete a run's folder in which there is nothing but files of its `beginning`; whether it is gone."""
    with contextlib.suppress(OSError):
        found = {path.name for path in folder.iterdir()}
        if found.issubset(beginning):
            for name in found:
                (folder / name).unlink()
            folder.rmdir()
    return not folder.exists()


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for text."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, whoever else writes it meanwhile."""
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # Else a power cut may leave the name with nothing in it.
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """`write_text` for JSON; numbers that are not finite are an error, not invalid JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def details(folder: Path, error: BaseException) -> str:
    """Write the whole story of an error to error.txt; where it is, for the line that tells of it."""
    path = folder / "error.txt"
    try:
        write_text(path, redact(f"{error}\n\n{error.__cause__}\n"))
    except OSError as why:
        return f"the details could not be written ({path}: {why.strerror})"
    return f"the details are in {path}"


def check_target(path: Path, where: str = "") -> None:
    """That nothing seen so far keeps a file from being written as `path`; asked before what is written has
    cost any work.

    Raises:
        UserError: it is a folder, or may not be looked at; the line starts with `where`.
    """
    try:
        folder = not path.name or stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise user_error(f"{where}{path}: {getattr(error, 'strerror', error)}") from error
    if folder:
        raise user_error(f"{where}{path}: {os.strerror(errno.EISDIR)}")


def is_folder(path: Path) -> bool:
    """Whether it is one. Of what may not be looked at, or cannot be a path, whoever opens it says why."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def finished_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a run that needs no going on."""
    try:
        summary = json.loads((folder / "summary.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return summary if isinstance(summary, dict) and summary.get("status") == "finished" else None
