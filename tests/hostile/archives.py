"""Zip archives that say one thing to Python's `zipfile` and another to PyTorch, each of any two values."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from tests.hostile.foreign import torch_saved
from tests.hostile.making import weights
from tests.hostile.outside import MORE, Calling, outside, written

END, LOCATOR, RECORD = 22, 20, 56
OTHER_PLACE = "damaged .a zip archive whose directory is not where its end says"


def _parts(data: bytes) -> tuple[bytes, bytes]:
    """What torch.save wrote: its entries and its directory."""
    length, offset = struct.unpack_from("<II", data, len(data) - END + 12)
    return data[:offset], data[offset : offset + length]


def _moved(directory: bytes, by: int) -> bytes:
    """The same directory of entries that lie elsewhere."""
    found = bytearray(directory)
    at = 0
    while at < len(found):
        (offset,) = struct.unpack_from("<I", found, at + 42)
        struct.pack_into("<I", found, at + 42, offset + by)
        at += 46 + sum(struct.unpack_from("<HHH", found, at + 28))
    return bytes(found)


def two_directories(read: object, shown: object) -> bytes:
    """The end names the first directory; who takes what precedes an archive for a program takes the last."""
    first, second = torch_saved(read), torch_saved(shown)
    (body, directory), (other, its) = _parts(first), _parts(second)
    assert len(directory) == len(its)
    body += bytes(max(0, len(other) - len(body)))  # No entry can lie before where it says.
    end = bytearray(first[-END:])
    struct.pack_into("<I", end, 16, len(body))
    return body + directory + other + _moved(its, len(body) - len(other)) + end


def two_directories_with_a_record(read: object, shown: object) -> bytes:
    """The same as an archive of any size."""
    joined = two_directories(read, shown)
    joined, end = joined[:-END], joined[-END:]
    tail = bytearray(torch_saved(read)[-END - LOCATOR - RECORD : -END])
    struct.pack_into("<Q", tail, 48, *struct.unpack_from("<I", end, 16))
    struct.pack_into("<Q", tail, RECORD + 8, len(joined))
    return joined + tail + end


def two_records(read: object, shown: object) -> bytes:
    """The locator names the first record, and the second is where records are as a rule."""
    first, second = torch_saved(read), torch_saved(shown)
    other, its = _parts(second)
    tail = bytearray(second[-END - LOCATOR - RECORD :])
    struct.pack_into("<Q", tail, 48, len(first) + len(other))
    struct.pack_into("<Q", tail, RECORD + 8, len(first) - END - LOCATOR - RECORD)
    struct.pack_into("<II", tail, RECORD + LOCATOR + 12, 2**32 - 1, 2**32 - 1)
    return first + other + _moved(its, len(first)) + tail


def two_names(read: object, shown: object) -> bytes:
    """The directory gives each of two pickles its name and, as `zipfile` since Python 3.12 heeds, another."""
    saved = [zipfile.ZipFile(io.BytesIO(torch_saved(one))) for one in (read, shown)]
    pickles = [one.read("archive/data.pkl") for one in saved]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, alias, data in zip(("data.pkl", "other"), ("other", "data.pkl"), pickles, strict=True):
            entry = zipfile.ZipInfo(f"archive/{name}")
            text = struct.pack("<BI", 1, zlib.crc32(entry.filename.encode())) + f"archive/{alias}".encode()
            entry.extra = struct.pack("<HH", 0x7075, len(text)) + text
            file.writestr(entry, data)
        file.writestr("archive/version", "3\n")
    return buffer.getvalue()


AMBIGUOUS = (two_directories, two_directories_with_a_record, two_records)


def _handed_in(folder: Path, make: Callable[[object, object], bytes]) -> Path:
    harmful = {"state_dict": weights(), "x": Calling(bytearray, 10**11)}
    return written(folder, make(harmful, {"state_dict": weights()}))


@outside(OTHER_PLACE)
def archive_of_two_directories(folder: Path) -> Path:
    return _handed_in(folder, two_directories)


@outside(OTHER_PLACE)
def archive_of_two_directories_with_a_record(folder: Path) -> Path:
    return _handed_in(folder, two_directories_with_a_record)


@outside(OTHER_PLACE)
def archive_of_two_records(folder: Path) -> Path:
    return _handed_in(folder, two_records)


@outside(f"a zip archive whose entries have several names|{MORE}: '__builtin__.bytearray'")
def archive_whose_entries_have_two_names(folder: Path) -> Path:
    return _handed_in(folder, two_names)


@outside("without its end, or with a comment")
def archive_with_a_comment(folder: Path) -> Path:
    data = torch_saved(weights())
    return written(folder, data[:-2] + b"\x05\0hello")
