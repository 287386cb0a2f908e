"""Checkpoints: snapshots on storage, the newest of them kept."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.checkpoint_files import UNREADABLE, from_files, in_words, read_manifest, to_files
from orchestrator.errors import RunFailed, UserError
from orchestrator.identity import check_identity
from orchestrator.snapshot import FRESH, Snapshot, Spent
from orchestrator.storage import Storage


class OutOfReach(RunFailed):
    """The checkpoints cannot be read at the moment, such as over a network that is down."""


class Checkpoints:
    """A run's checkpoints on `storage`: numbered, the newest `keep` kept.

    `identity` is what a run must have in common with a checkpoint that it goes on from (`run_identity`);
    `carry` gives files, by path, that each new checkpoint has with it, and `spent` how long the run took.
    """

    def __init__(
        self,
        storage: Storage,
        keep: int,
        identity: Mapping[str, Any],
        say: Callable[[str], None],
        carry: Callable[[], Mapping[str, bytes]] = dict,
        spent: Callable[[], Spent] | None = None,
    ) -> None:
        self.where = storage.where
        self._storage = storage
        self._keep = keep
        self._identity = dict(identity)
        self._say = say
        self._carry = carry
        self._spent = spent

    def save(self, snapshot: Snapshot) -> None:
        """Write a new checkpoint, then delete the ones that are too many.

        Raises:
            OSError: it could not be written, or another run writes there too; the ones before are untouched.
        """
        names = self._storage.folders()
        if names and self._is_anothers(names[-1]):
            raise OSError(f"another run has written {names[-1]} there")
        if self._spent is not None:
            snapshot = dataclasses.replace(snapshot, spent=self._spent())
        files = to_files(snapshot, self._identity, self._carry())
        self._storage.write(f"checkpoint-{_number(names[-1]) + 1 if names else 1:08d}", files)
        with contextlib.suppress(OSError):  # The next save tries it again.
            for name in names[: max(0, len(names) + 1 - self._keep)]:
                self._storage.remove(name)

    def clear(self) -> None:
        """Delete them all: the run is over. What cannot be deleted is said."""
        try:
            for name in self._storage.folders():
                if not self._is_anothers(name):
                    self._storage.remove(name)
            self._storage.tidy()
        except OSError as error:
            self._say(f"could not delete the checkpoints in {self.where}: {error.strerror or error}")

    def load(self) -> Snapshot:
        """The newest snapshot that is whole; those that are not are said and set aside. Without any: fresh.

        Raises:
            UserError: the newest is another run's.
            OutOfReach: the storage cannot be read.
        """
        try:
            return self._load()
        except OSError as error:  # Such as a network that is down: nothing is wrong with the checkpoints.
            raise OutOfReach(
                f"cannot read the checkpoints in {self.where}: {error.strerror or error}"
            ) from error

    def _is_anothers(self, name: str) -> bool:
        try:
            check_identity(read_manifest(self._storage, name)["identity"], self._identity, name)
        except UNREADABLE:
            return False
        except UserError:
            return True
        return False

    def _load(self) -> Snapshot:
        names = self._storage.folders()
        for name in reversed(names):
            try:
                manifest = read_manifest(self._storage, name)
                check_identity(manifest["identity"], self._identity, f"{self.where}/{name}")
                return from_files(self._storage, name, manifest)
            except UNREADABLE as error:
                self._say(f"{name} is damaged ({in_words(error)}); using the one before")
                self._storage.set_aside(name)
        if names:
            self._say(f"none of the checkpoints in {self.where} is whole; starting from the beginning")
        return FRESH


def _number(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0
