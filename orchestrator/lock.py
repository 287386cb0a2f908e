"""One process at a time works on a run's folder."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from orchestrator.errors import UserError


class InUse(UserError):
    """Somebody is at work in the folder, and who."""


LOCK = ".lock"
POLL_SECONDS = 0.2


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within the block nobody else gets past this; the kernel lets go when the process ends, however it ends.

    Raises:
        InUse: somebody is at work in `folder`, and who.
        UserError: it cannot be written to.
    """
    path = folder / LOCK
    while True:
        with _opened(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise InUse(f"{folder} is in use by {file.read().strip() or 'another process'}") from error
            except OSError as error:
                raise UserError(f"{path}: cannot be locked ({error.strerror})") from error
            if not _is(path, file):
                continue  # Its owner deleted it after it was opened here.
            try:
                _sign(path, file)
                yield
            finally:
                path.unlink(missing_ok=True)
            return


@contextlib.contextmanager
def locked_in_turn(folder: Path, waiting: Callable[[InUse], None] = lambda _: None) -> Iterator[None]:
    """`locked`, after whoever has it; `waiting` is told once who that is.

    Raises:
        UserError: `folder` cannot be written to.
    """
    said = False
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except InUse as error:
                if not said:
                    waiting(error)
                said = True
                time.sleep(POLL_SECONDS)
        yield


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise _not_writable(path, error) from error


def _sign(path: Path, file: TextIO) -> None:
    try:
        file.truncate(0)
        # Past the buffer, which a full disk would leave for the closing to fail on again.
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError as error:
        raise _not_writable(path, error) from error


def _not_writable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path.parent}: cannot be written to ({error.strerror})")


def _is(path: Path, file: TextIO) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(file.fileno()))
