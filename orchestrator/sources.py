"""Opens what a configuration names as a teacher: a local path, a URI that `pyarrow.fs` or fsspec opens, or a
model in an MLflow registry."""

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from fusion.cards import MAX_CARD_BYTES, card_path
from fusion.folders import FOLDER_CONFIG, FOLDER_WEIGHTS
from fusion.known import UndeclaredError
from fusion.outside import Outside, read_outside
from fusion.stored import MAX_FILE_BYTES
from fusion.teachers import SUFFIX, Teacher, TeacherError
from fusion.untrusted import Refused
from orchestrator.errors import user_error
from orchestrator.label_spaces import renamed
from orchestrator.registry import fetch, find, is_registered, opened_registry, registry_uri
from orchestrator.secrets import check_whole
from orchestrator.teacher_source import TeacherSource

CHUNK = 2**24


def read_classifier(source: TeacherSource, where: str = "", registry: str | None = None) -> Teacher:
    """`read_source` without the account of how it was read.

    Raises:
        UserError: what is wrong or missing, by key.
    """
    return read_source(source, where, registry).teacher


def read_source(source: TeacherSource, where: str = "", registry: str | None = None) -> Outside:
    """The classifier at `source`, checked, with its classes called as its label map says; `where` is what the
    keys in messages begin with (`teachers.0.`), `registry` the server or database that has models:/, if the
    environment does not name it.

    Raises:
        UserError: what is wrong or missing, by key.
    """
    check_whole(source.source, f"{where}source")
    try:
        given = source.given()
    except Refused as error:
        raise user_error(f"{where}classes: {source.classes}: {error}") from error
    try:
        with _local(source.source, registry) as path:
            try:
                outside = read_outside(path, given, allow_code=source.allow_code)
            except TeacherError as error:
                key, message = "source", str(error)
                if isinstance(error, UndeclaredError):
                    key, message = error.key, error.message
                if is_elsewhere(source.source):  # Nobody knows the copy.
                    place = source.source.rstrip("/")
                    message = message.replace(str(card_path(path)), f"{place}: {card_path(path).name}")
                    message = message.replace(str(path), place)
                raise user_error(f"{where}{key}: {message}") from error
    except (OSError, ValueError, ImportError) as error:
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise user_error(f"{where}source: {source.source}: {reason}") from error
    teacher = renamed(outside.teacher, source.label_map or {}, f"{where}label_map")
    return dataclasses.replace(outside, teacher=teacher)


def pinned(source: TeacherSource, where: str = "", registry: str | None = None) -> TeacherSource:
    """The same; of a model in a registry the version that its alias names by now.

    Raises:
        UserError: there is none.
    """
    if not is_registered(source.source):
        return source
    try:
        with opened_registry(registry_uri(registry)) as client:
            return source.model_copy(update={"source": find(client, source.source).uri})
    except Refused as error:
        raise user_error(f"{where}source: {source.source}: {error}") from error


def is_elsewhere(place: str) -> bool:
    """Whether it is no path on this machine."""
    return "://" in place or is_registered(place)


@contextmanager
def _local(place: str, registry: str | None) -> Iterator[Path]:
    """Where it can be read: copied, for the length of the block, if it is elsewhere."""
    if not is_elsewhere(place):
        yield Path(place)
        return
    if is_registered(place):
        uri = registry_uri(registry)
        with tempfile.TemporaryDirectory(prefix="dfmf-") as folder:
            with opened_registry(uri) as client:
                copy = fetch(uri, find(client, place), Path(folder))
            yield copy
        return
    with tempfile.TemporaryDirectory(prefix="dfmf-") as folder:
        try:
            copy = _copied(place, Path(folder))
        except (OSError, ValueError, ImportError):
            raise
        except Exception as error:  # Who wrote a file system decides what it raises.
            raise OSError(str(error) or type(error).__name__) from error
        yield copy


def _copied(place: str, folder: Path) -> Path:
    """Of what is on this machine after all, no copy is made."""
    from pyarrow import fs

    system, path = _opened(place)
    return (
        Path(path) if isinstance(system, fs.LocalFileSystem) else _fetched(system, path.rstrip("/"), folder)
    )


def _opened(place: str) -> tuple[Any, str]:
    from pyarrow import ArrowInvalid, fs

    try:
        system, path = fs.FileSystem.from_uri(place)
    except ArrowInvalid:  # No scheme of Arrow's own.
        import fsspec

        other, path = fsspec.core.url_to_fs(place)
        system = fs.PyFileSystem(fs.FSSpecHandler(other))
    return system, str(path)


def _fetched(system: Any, path: str, folder: Path) -> Path:
    """Copy a file and what may belong to it, or of a folder what is read there."""
    from pyarrow import fs

    copy = folder / (PurePosixPath(path).name or "source")
    kind = system.get_file_info(path).type
    if kind == fs.FileType.Directory:
        copy.mkdir()
        _fetch(system, f"{path}/{FOLDER_CONFIG}", copy / FOLDER_CONFIG, MAX_CARD_BYTES)
        for name in FOLDER_WEIGHTS:
            if _fetch(system, f"{path}/{name}", copy / name, MAX_FILE_BYTES):
                break
        return copy
    if kind != fs.FileType.File:
        raise FileNotFoundError(2, "No such file or folder")
    _fetch(system, path, copy, MAX_FILE_BYTES)
    names = [copy.with_suffix(".json").name] if copy.suffix == SUFFIX else []
    names += [FOLDER_CONFIG] if copy.name in FOLDER_WEIGHTS else []
    for name in names:
        _fetch(system, str(PurePosixPath(path).with_name(name)), folder / name, MAX_CARD_BYTES)
    return copy


def _fetch(system: Any, path: str, to: Path, at_most: int) -> bool:
    """Whether it was there."""
    from pyarrow import fs

    info = system.get_file_info(path)
    if info.type != fs.FileType.File:
        return False
    written = info.size or 0
    if written <= at_most:
        written = 0
        with system.open_input_stream(path) as stream, to.open("wb") as file:
            while written <= at_most and (chunk := stream.read(CHUNK)):
                written += file.write(chunk)
    if written > at_most:
        raise ValueError(f"{to.name} is larger than what is read (at most {at_most:,} bytes)")
    return True
