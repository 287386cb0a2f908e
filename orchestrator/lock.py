"""One process at a time works on a run's folder."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import UserError

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within the block nobody else gets past this; the kernel lets go when the process ends, however it ends.

    Raises:
        UserError: somebody is at work in `folder`; says who.
    """
    path = folder / LOCK
    while True:
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                raise UserError(
                    f"{folder} is in use by {file.read().strip() or 'another process'}"
                ) from error
            if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                continue  # Its owner deleted it after it was opened here.
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
