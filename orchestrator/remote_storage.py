"""Checkpoints on object stores, through `pyarrow.fs`."""

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from orchestrator.storage import MANIFEST


class RemoteStorage:
    """An object store, which cannot rename: a folder counts once its manifest is there."""

    def __init__(self, system: Any, path: str, where: str) -> None:
        self.where = where
        self._system = system
        self._path = path.rstrip("/")

    def folders(self) -> list[str]:
        """See `Storage`."""
        from pyarrow import fs

        found = self._system.get_file_info(fs.FileSelector(self._path, recursive=True, allow_not_found=True))
        parts = [one.path.strip("/").split("/") for one in found]
        depth = len(self._path.strip("/").split("/")) + 2
        return sorted(one[-2] for one in parts if one[-1] == MANIFEST and len(one) == depth)

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        """See `Storage`."""
        try:
            self._system.create_dir(f"{self._path}/{folder}", recursive=True)
            for name, data in files.items():
                with self._system.open_output_stream(f"{self._path}/{folder}/{name}") as stream:
                    stream.write(data)
        except BaseException:
            with contextlib.suppress(OSError):
                self.remove(folder)
            raise

    def size(self, folder: str, name: str) -> int:
        """See `Storage`."""
        size = self._system.get_file_info(f"{self._path}/{folder}/{name}").size
        if size is None:
            raise FileNotFoundError(2, "No such file", name)
        return int(size)

    def read(self, folder: str, name: str) -> bytes:
        """See `Storage`."""
        with self._system.open_input_stream(f"{self._path}/{folder}/{name}") as stream:
            data: bytes = stream.read()
        return data

    def remove(self, folder: str) -> None:
        """See `Storage`."""
        with contextlib.suppress(FileNotFoundError):  # First what makes it count.
            self._system.delete_file(f"{self._path}/{folder}/{MANIFEST}")
        self._system.delete_dir(f"{self._path}/{folder}")

    def set_aside(self, folder: str) -> None:
        """See `Storage`."""
        path = f"{self._path}/{folder}"
        self._system.move(f"{path}/{MANIFEST}", f"{path}/damaged-{MANIFEST}")

    def tidy(self) -> None:
        """See `Storage`; nothing: what has no manifest is written over."""

    def held(self) -> AbstractContextManager[None]:
        """See `Storage`; object stores have no locks."""
        return contextlib.nullcontext()
