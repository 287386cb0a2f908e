"""Where checkpoints lie: a local folder, or anything that `pyarrow.fs` opens (s3://, gs://, hdfs://, ...).

A checkpoint is a folder of files whose last one, the manifest, makes it complete.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from orchestrator.errors import UserError
from orchestrator.lock import locked
from orchestrator.secrets import check_whole

MANIFEST = "MANIFEST.json"
PROBE = "probe"


class Storage(Protocol):
    """Folders of files that appear whole or not at all. All methods may raise OSError."""

    where: str
    """For people."""

    def folders(self) -> list[str]:
        """Those that were complete once, in alphabetical order; all are called checkpoint-..."""

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        """A new folder; the last of `files` is the manifest."""

    def size(self, folder: str, name: str) -> int:
        """Bytes of a file."""

    def read(self, folder: str, name: str) -> bytes:
        """A file's content."""

    def remove(self, folder: str) -> None:
        """Delete a folder."""

    def set_aside(self, folder: str) -> None:
        """Keep a folder that is no good where nobody takes it for one that is."""

    def tidy(self) -> None:
        """Delete what a crash left half-written."""

    def held(self) -> AbstractContextManager[None]:
        """Within the block no other process has it, where that can be told.

        Raises:
            UserError: one has, or it cannot be written to.
        """


def open_storage(place: str) -> Storage:
    """The storage at `place`, a path or a URI; made when something is written.

    Raises:
        UserError: there is no such storage.
    """
    try:
        if "://" not in place:
            return LocalStorage(Path(place).absolute())
        from pyarrow import fs

        from orchestrator.remote_storage import RemoteStorage

        system, path = fs.FileSystem.from_uri(place)
        if isinstance(system, fs.LocalFileSystem):
            return LocalStorage(Path(path))
        return RemoteStorage(system, path, place)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"checkpoint.to: cannot write to {place}: {reason}") from error


@contextlib.contextmanager
def storage_of_run(to: str | None, folder: Path, *, resumed: bool) -> Iterator[Storage]:
    """For the checkpoints of the run in `folder`: there, or at `to`. Within the block no other run has it, if
    it is a folder.

    Raises:
        UserError: it cannot be read or written to, another run is at work there, or it holds those of one.
    """
    check_whole(to or "", "checkpoint.to")
    storage = open_storage(to or str(folder / "checkpoints"))
    try:
        taken = bool(storage.folders()) and not resumed
    except OSError as error:
        raise UserError(f"checkpoint.to: cannot read {storage.where}: {error.strerror or error}") from error
    if taken:
        raise UserError(f"checkpoint.to: {storage.where} holds the checkpoints of another run")
    if to is None:  # The run's own folder, which has a lock of its own.
        yield storage
        return
    with storage.held():
        check_writable(storage)
        yield storage


def check_writable(storage: Storage) -> None:
    """Write something, and delete it.

    Raises:
        UserError: it cannot be done.
    """
    try:
        storage.write(PROBE, {PROBE: b""})
        storage.remove(PROBE)
        storage.tidy()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"checkpoint.to: cannot write to {storage.where}: {reason}") from error


class LocalStorage:
    """A folder: written under another name, flushed to the disk, then renamed."""

    def __init__(self, root: Path) -> None:
        self.where = str(root)
        self._root = root

    def folders(self) -> list[str]:
        """See `Storage`."""
        try:
            with os.scandir(self._root) as entries:  # Path.glob takes what it may not read for empty.
                return sorted(
                    one.name for one in entries if one.name.startswith("checkpoint-") and one.is_dir()
                )
        except FileNotFoundError:
            return []

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        """See `Storage`."""
        temporary = self._root / f".writing-{folder}-{os.getpid()}"
        self.tidy()
        try:
            temporary.mkdir(parents=True)
            for name, data in files.items():
                with (temporary / name).open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            _flush_folder(temporary)
            if (self._root / folder).exists():  # What lost its manifest does not count, but is in the way.
                self.set_aside(folder)
            temporary.rename(self._root / folder)
            _flush_folder(self._root)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def size(self, folder: str, name: str) -> int:
        """See `Storage`."""
        return (self._root / folder / name).stat().st_size

    def read(self, folder: str, name: str) -> bytes:
        """See `Storage`."""
        return (self._root / folder / name).read_bytes()

    def remove(self, folder: str) -> None:
        """See `Storage`."""
        doomed = self._root / f".writing-{folder}-{os.getpid()}"
        (self._root / folder).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def set_aside(self, folder: str) -> None:
        """See `Storage`."""
        aside = self._root / f".damaged-{folder}"
        number = 1
        while aside.exists():
            number += 1
            aside = self._root / f".damaged-{folder}-{number}"
        (self._root / folder).rename(aside)

    def tidy(self) -> None:
        """See `Storage`; also the folder itself, when it is empty."""
        for left in self._root.glob(".writing-*"):
            shutil.rmtree(left, ignore_errors=True)
        self._remove_empty()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """See `Storage`."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._remove_empty)
            try:
                self._root.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self._root))
            except OSError as error:
                raise UserError(f"checkpoint.to: cannot write to {self.where}: {error.strerror}") from error
            except UserError as error:
                raise UserError(f"checkpoint.to: {error}") from error
            yield

    def _remove_empty(self) -> None:
        with contextlib.suppress(OSError):
            self._root.rmdir()


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
