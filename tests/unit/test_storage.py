"""Folders that appear whole or not at all, on a disk and in an object store."""

import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import fs

from orchestrator import storage
from orchestrator.checkpoints import Checkpoints, OutOfReach
from orchestrator.errors import UserError
from orchestrator.recovering import is_storage
from orchestrator.remote_storage import RemoteStorage
from orchestrator.snapshot import FRESH
from orchestrator.storage import MANIFEST, LocalStorage, Storage, open_storage, storage_of_run
from tests.instant import instantly, small_run

FILES = {"a.safetensors": b"a" * 1000, "b.safetensors": b"b", MANIFEST: b"{}"}


def local(folder: Path) -> Storage:
    return LocalStorage(folder / "checkpoints")


def in_memory(folder: Path) -> Storage:
    system = fs.PyFileSystem(fs.FSSpecHandler(MemoryFileSystem()))
    return RemoteStorage(system, f"bucket-{uuid.uuid4()}/checkpoints/", "memory")


def subtree(folder: Path) -> Storage:
    return RemoteStorage(fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem()), "a/checkpoints", "tree")


each_storage = pytest.mark.parametrize("make", [local, in_memory, subtree])


@each_storage
def test_folders_are_written_listed_read_and_removed(make: Callable[[Path], Storage], tmp_path: Path) -> None:
    place = make(tmp_path)
    assert place.folders() == []
    for name in ("checkpoint-2", "checkpoint-1"):
        place.write(name, FILES)
    assert place.folders() == ["checkpoint-1", "checkpoint-2"]
    assert {name: place.read("checkpoint-1", name) for name in FILES} == FILES
    assert {name: place.size("checkpoint-1", name) for name in FILES} == {k: len(v) for k, v in FILES.items()}
    for read in (place.read, place.size):
        with pytest.raises(FileNotFoundError):
            read("checkpoint-1", "missing")
    place.remove("checkpoint-1")
    place.set_aside("checkpoint-2")
    assert place.folders() == []
    for _ in range(2):  # A number that was set aside is used again.
        place.write("checkpoint-2", FILES)
        assert place.folders() == ["checkpoint-2"]
        place.set_aside("checkpoint-2")
    place.tidy()
    assert place.folders() == []


@each_storage
def test_a_write_that_breaks_off_leaves_nothing_that_counts(
    make: Callable[[Path], Storage], tmp_path: Path
) -> None:
    place = make(tmp_path)
    place.write("checkpoint-1", FILES)
    for good in range(len(FILES)):
        broken: dict[str, Any] = {
            name: data if index < good else None for index, (name, data) in enumerate(FILES.items())
        }
        with pytest.raises(TypeError):
            place.write("checkpoint-2", broken)
        assert place.folders() == ["checkpoint-1"]
    place.write("checkpoint-2", FILES)
    assert place.read("checkpoint-2", "b.safetensors") == b"b"


def test_what_a_crash_left_in_an_object_store_does_not_count_and_is_written_over(tmp_path: Path) -> None:
    place = subtree(tmp_path)
    half = tmp_path / "a" / "checkpoints" / "checkpoint-1"
    half.mkdir(parents=True)
    (half / "a.safetensors").write_bytes(b"half")
    (half / "deeper").mkdir()
    (half / "deeper" / MANIFEST).write_bytes(b"{}")
    assert place.folders() == []
    place.write("checkpoint-1", FILES)
    assert place.folders() == ["checkpoint-1"]
    assert place.read("checkpoint-1", "a.safetensors") == FILES["a.safetensors"]


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = local(tmp_path)
    place.write("checkpoint-1", FILES)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        place.folders()
    with pytest.raises(
        OutOfReach, match=f"^cannot read the checkpoints in {place.where}: Permission denied$"
    ):
        Checkpoints(place, 2, {}, print).load()
    with pytest.raises(UserError, match=f"^--resume: cannot read {place.where}: Permission denied$"):
        is_storage(tmp_path / "checkpoints")
    taken = small_run(tmp_path / "runs", checkpoint={"to": place.where})
    with pytest.raises(UserError, match=rf"^checkpoint\.to: cannot read {place.where}: Permission denied$"):
        instantly(taken)
    monkeypatch.undo()
    assert place.folders() == ["checkpoint-1"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^--resume: cannot read .*file: Not a directory$"):
        is_storage(tmp_path / "file")


def refuse(path: object) -> Any:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def test_what_a_crash_left_on_a_disk_is_swept_up(tmp_path: Path) -> None:
    place = local(tmp_path)
    left = tmp_path / "checkpoints" / ".writing-checkpoint-1-77"
    left.mkdir(parents=True)
    (left / MANIFEST).write_bytes(b"{}")
    assert place.folders() == []
    place.write("checkpoint-1", FILES)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-1"]
    place.remove("checkpoint-1")
    place.tidy()
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("call", range(1, 6))  # Three files and two folders are flushed.
def test_a_full_disk_at_any_flush_leaves_nothing_half_written(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, calls = local(tmp_path), list[int]()
    place.write("checkpoint-1", FILES)

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        place.write("checkpoint-2", FILES)
    found = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert found - {"checkpoint-2"} == {"checkpoint-1"}  # After the last flush the second is whole.
    assert ("checkpoint-2" in found) == (call == 5)


def test_places_are_opened_or_refused_in_one_line(tmp_path: Path) -> None:
    assert isinstance(open_storage(str(tmp_path)), LocalStorage)
    assert isinstance(open_storage(tmp_path.as_uri()), LocalStorage)
    for place in ("nothing://x/y", "://", "file://relative"):
        with pytest.raises(UserError, match=r"^checkpoint\.to: cannot write to ") as error:
            open_storage(place)
        assert "\n" not in str(error.value)


def test_a_folder_for_checkpoints_has_one_run_at_a_time(tmp_path: Path) -> None:
    place = tmp_path / "kept"
    writing = place / ".writing-checkpoint-00000001-1"
    with storage_of_run(str(place), tmp_path / "one", resumed=False):
        writing.mkdir()
        with pytest.raises(
            UserError, match=rf"^checkpoint\.to: {place} is in use by process {os.getpid()} on "
        ):
            instantly(small_run(tmp_path, name="two", checkpoint={"to": str(place)}))
        assert writing.exists(), "what the other writes is left alone"
        writing.rmdir()
    assert not list(tmp_path.iterdir())


@each_storage
def test_what_another_run_wrote_in_the_same_place_is_neither_followed_nor_deleted(
    make: Callable[[Path], Storage], tmp_path: Path
) -> None:
    place = make(tmp_path)
    theirs, ours = (Checkpoints(place, 1, {"seed": seed}, print) for seed in (0, 1))
    theirs.save(FRESH)
    with pytest.raises(OSError, match=r"^another run has written checkpoint-00000001 there$"):
        ours.save(FRESH)
    ours.clear()
    assert place.folders() == ["checkpoint-00000001"]
    theirs.save(FRESH)
    assert place.folders() == ["checkpoint-00000002"]
    theirs.clear()
    assert place.folders() == []
