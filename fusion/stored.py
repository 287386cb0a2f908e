"""Tensors in other people's files: first names, shapes and types, then, if these are right, the values."""

import dataclasses
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from torch import Tensor

from fusion.untrusted import Refused

MAX_TENSORS = 20_000
MAX_FILE_BYTES = 16 * 2**30


@dataclasses.dataclass(frozen=True)
class Stored:
    """A state dict that has not been read yet."""

    form: str
    """What the file is, for people."""
    shapes: Mapping[str, Tensor]
    """The tensors on the meta device."""
    load: Callable[[], Mapping[str, Tensor]]
    """Their values; they may share memory."""
    size: int
    """Bytes of the file: no more is read."""


@contextmanager
def opened(path: Path, *, at_most: int = MAX_FILE_BYTES) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file, opened once and without waiting, and its size.

    Raises:
        Refused: no file, no regular one, or larger.
    """
    try:
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    except OSError as error:
        raise Refused(str(error.strerror)) from error
    except ValueError as error:  # A null or half a surrogate pair in the path.
        raise Refused(str(error)) from error
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Refused("no regular file")
        if status.st_size > at_most:
            raise Refused(f"larger than what is read ({status.st_size:,} bytes, at most {at_most:,})")
        yield file, status.st_size
