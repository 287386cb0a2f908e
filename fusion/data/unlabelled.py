"""Images without labels: a Parquet file's column, or all that lie in a folder."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from fusion.data.decoding import decode
from fusion.data.labelled import DataError
from fusion.networks import ImageSpec

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def read_images(source: str, spec: ImageSpec, column: str) -> Tensor:
    """The images of a Parquet file's `column` (bytes, or a struct with a field 'bytes') or of a folder and
    its folders, by name: uint8 [count, channels, size, size], resized, grey or in colour, as `spec` has it.

    Raises:
        DataError: there are none, or one is not readable.
    """
    path = Path(source)
    if path.is_dir():
        check_images(source, column)
        files = sorted(_files(path))
        names, encoded = [str(file) for file in files], (file.read_bytes() for file in files)
        try:
            return decode(encoded, names, spec.size, spec.channels)
        except OSError as error:
            raise DataError(f"{error.filename}: {error.strerror}") from error
    cells = _cells(path, column)
    names = [f"{source}, row {row}" for row in range(len(cells))]
    return decode(iter(cells), names, spec.size, spec.channels)


def check_images(source: str, column: str) -> None:
    """What can be known without reading any of them.

    Raises:
        DataError: as `read_images`.
    """
    path = Path(source)
    if not path.is_dir():
        _column(path, column)
    elif not any(_files(path)):
        raise DataError(f"{source}: no image in this folder (one of {', '.join(SUFFIXES)})")


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def _cells(path: Path, column: str) -> list[bytes | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    _column(path, column)
    try:
        cells = pq.read_table(path, columns=[column]).column(column).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: no readable Parquet file") from error
    return [cell.get("bytes") if isinstance(cell, dict) else cell for cell in cells]


def _column(path: Path, column: str) -> None:
    """That there is one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        known = pq.read_schema(path).names
    except (OSError, pa.ArrowInvalid) as error:
        reason = "no such file or folder" if not path.exists() else "no readable Parquet file"
        raise DataError(f"{path}: {reason}") from error
    if column not in known:
        raise DataError(f"{path}: there is no column {column!r} (there are {', '.join(known)})")
