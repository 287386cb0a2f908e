"""The directory of a zip archive, looked at before anybody reads the archive by it.

Programs find it in different ways, so that one archive can hold one thing for who looks it through and
another one for who then reads it. Accepted is what all find alike (PKWARE's APPNOTE, 4.3.14 to 4.3.16).
"""

import struct
from typing import BinaryIO

from fusion.untrusted import Refused

MAX_DIRECTORY_BYTES = 8_000_000
_END = struct.Struct("<4s8xIIH")
"""A mark, the directory's length and place, and the length of a comment."""
_LOCATOR = struct.Struct("<4s4xQ4x")
"""A mark, and where the record is; with _RECORD right before the end, for archives of any size."""
_RECORD = struct.Struct("<4s36xQQ")
"""A mark, the directory's length and place."""
_ELSEWHERE = 2**32 - 1
"""Stands in the end for what the record says."""


def check_directory(file: BinaryIO, size: int) -> None:
    """That it ends where the end of an archive without a comment begins, and is not too large to be read.

    Raises:
        Refused: it does not, or is.
    """
    file.seek(max(0, size - _RECORD.size - _LOCATOR.size - _END.size))
    tail = file.read()
    file.seek(0)
    if len(tail) < _END.size:
        raise Refused("truncated or damaged (a zip archive without its end)")
    mark, *said, comment = _END.unpack(tail[-_END.size :])
    if mark != b"PK\x05\x06" or comment:
        raise Refused("truncated or damaged (a zip archive without its end, or with a comment)")
    length, offset = said
    stop, agree = size - _END.size, True
    if (record := tail[: -_END.size - _LOCATOR.size]) and len(record) == _RECORD.size:
        mark, place = _LOCATOR.unpack_from(tail, _RECORD.size)
        if mark == b"PK\x06\x07":
            stop -= _LOCATOR.size + _RECORD.size
            mark, length, offset = _RECORD.unpack(record)
            agree = mark == b"PK\x06\x06" and place == stop
            agree &= said[0] in (_ELSEWHERE, length) and said[1] in (_ELSEWHERE, offset)
    if length > MAX_DIRECTORY_BYTES:
        raise Refused(f"a zip directory of {length:,} bytes; at most {MAX_DIRECTORY_BYTES:,}")
    if not agree or offset + length != stop:
        raise Refused("truncated or damaged (a zip archive whose directory is not where its end says)")
