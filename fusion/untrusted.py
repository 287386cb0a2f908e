"""Reading what strangers wrote: regular files of a bounded size, strict JSON, and messages that fit on one
line."""

import json
import math
import os
import reprlib
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_DIGITS = 100
MAX_BRACKETS = 200_000
"""A million lists take Python's garbage collector longer than a second."""
MAX_SHOWN = 400


class Refused(ValueError):
    """What was handed over is not what it must be: one line, which does not name the file."""


def read_file(path: Path, *, at_most: int, what: str) -> bytes:
    """The bytes of a regular file, opened and read once; `what` says in the message what has `at_most` bytes.

    Raises:
        Refused: no file, no regular one (a pipe is not waited for), larger, or changed in the meantime.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Refused("no regular file")
            if status.st_size > at_most:
                raise Refused(f"larger than {what} can be ({status.st_size:,} bytes, at most {at_most:,})")
            data = file.read(status.st_size + 1)
    except OSError as error:
        raise Refused(str(error.strerror)) from error
    except Refused:
        raise
    except ValueError as error:  # A null or half a surrogate pair in the path.
        raise Refused(str(error)) from error
    if len(data) != status.st_size:
        raise Refused("changed while it was read")
    return data


def parse_json(text: bytes) -> Any:
    """JSON as its standard has it: UTF-8, no key twice in an object, finite numbers of at most `MAX_DIGITS`
    digits.

    Raises:
        Refused: it is not that, nested too deeply, or has more than `MAX_BRACKETS` lists and objects.
    """
    if text.count(b"[") + text.count(b"{") > MAX_BRACKETS:
        raise Refused(f"no JSON that is read here (more than {MAX_BRACKETS:,} brackets)")
    try:
        return json.loads(
            text.decode(),
            object_pairs_hook=_without_repetition,
            parse_int=_number(int),
            parse_float=_number(float),
            parse_constant=_number(float),
        )
    except RecursionError as error:
        raise Refused("no JSON (nested too deeply)") from error
    except ValueError as error:
        raise Refused(f"no JSON ({error})") from error


def shown(value: object) -> str:
    """`repr` cut to what a message has room for; without line ends, control characters and the like."""
    return _SHORT.repr(value)


def one_line(text: str) -> str:
    """`text` with escapes for what would end the line or steer a terminal, and without the middle of a very
    long one."""
    if len(text) > 2 * MAX_SHOWN:
        text = f"{text[:MAX_SHOWN]}...{text[-MAX_SHOWN:]}"
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = MAX_SHOWN
_SHORT.maxlist = _SHORT.maxdict = 5
_SHORT.maxlevel = 2


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise Refused(f"{shown(key)} stands twice")
        result[key] = value
    return result


def _number(kind: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if len(text) > MAX_DIGITS:
            raise Refused(f"a number of {len(text):,} digits")
        value = kind(text)
        if not math.isfinite(value):
            raise Refused(f"{text} is not finite")
        return value

    return parse
