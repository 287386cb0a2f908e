"""One process at a time works on a folder; a lock goes with its owner, however that ends."""

import errno
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from orchestrator import lock
from orchestrator.errors import UserError
from orchestrator.lock import locked

FORK = multiprocessing.get_context("fork")


def hold(folder: Path, held: Any, go: Any) -> None:
    with locked(folder):
        held.set()
        go.wait(30)


def test_a_second_process_is_told_who_the_first_is_until_that_ends(tmp_path: Path) -> None:
    for ending in ("kill", "exit"):
        held, go = FORK.Event(), FORK.Event()
        first = FORK.Process(target=hold, args=(tmp_path, held, go))
        first.start()
        assert held.wait(30)
        with pytest.raises(UserError, match=f"is in use by process {first.pid} on "), locked(tmp_path):
            pass
        assert first.pid is not None
        if ending == "kill":
            os.kill(first.pid, signal.SIGKILL)
        else:
            go.set()
        first.join()
        assert (tmp_path / ".lock").exists() == (ending == "kill")
        with locked(tmp_path):
            assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")
        assert list(tmp_path.iterdir()) == []


def count(folder: Path, counter: Any, inside: Any, most: Any, done: Any) -> None:
    while counter.value < 5000:
        try:
            with locked(folder):
                inside.value += 1  # Nobody else may be here.
                most.value = max(most.value, inside.value)
                counter.value += 1
                inside.value -= 1
        except UserError:
            continue
    done.value = 1


def test_many_that_come_and_go_are_never_two_at_once(tmp_path: Path) -> None:
    """The owner deletes the file, which others may have opened by then."""
    counter, inside, most = (FORK.Value("i", 0, lock=False) for _ in range(3))
    over = [FORK.Value("i", 0) for _ in range(4)]
    workers = [FORK.Process(target=count, args=(tmp_path, counter, inside, most, one)) for one in over]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert (most.value, inside.value) == (1, 0)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_its_owner_deletes_after_it_was_opened_is_no_lock(
    replaced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, opened = lock._opened, list[Path]()

    def late(path: Path) -> Any:
        file = real(path)
        opened.append(path)
        if len(opened) == 1:
            path.unlink()
            if replaced:
                path.write_text("somebody else's")
        return file

    monkeypatch.setattr(lock, "_opened", late)
    with locked(tmp_path):
        assert len(opened) == 2
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"nowhere: cannot be written to \(No such file or directory\)"),
        locked(tmp_path / "nowhere"),
    ):
        pass


def test_a_disk_that_is_full_is_one_line_and_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with (
        pytest.raises(UserError, match=rf"^{tmp_path}: cannot be written to \(No space left on device\)$"),
        locked(tmp_path),
    ):
        raise AssertionError
    assert not list(tmp_path.iterdir())
