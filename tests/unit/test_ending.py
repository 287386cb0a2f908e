"""A run is finished when everything of it is there, and then it stays finished."""

import errno
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator import Interrupted, RunFailed, UserError, running, shipping
from orchestrator.config import RunConfig
from orchestrator.recording import Recorder
from orchestrator.run_folder import finished_summary, write_json
from orchestrator.sending import Note, write_note
from orchestrator.storage import LocalStorage
from tests.instant import instantly, small_run, stop


def test_a_disk_that_is_full_at_the_end_leaves_a_run_that_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(recorder: Recorder, _summary: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(recorder.folder / "plots"))

    folder = tmp_path / "one"
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "plots", full)
        with pytest.raises(RunFailed, match=f"to go on: dfmf fuse --resume {folder}"):
            instantly(small_run(tmp_path))
    assert finished_summary(folder) is None
    result = instantly(None, resume=folder)
    assert result.summary["status"] == "finished"
    assert (folder / "MODEL_CARD.md").exists()
    assert (folder / "plots" / "class-subsets.png").exists()
    assert not (folder / "checkpoints").exists()


def test_checkpoints_that_cannot_be_deleted_are_said_and_the_run_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_storage: LocalStorage, folder: str) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy", folder)

    monkeypatch.setattr(LocalStorage, "remove", busy)
    text = io.StringIO()
    result = instantly(small_run(tmp_path, tracking={"enabled": True}), console=Console(file=text, width=400))
    assert result.summary["status"] == "finished"
    where = result.folder / "checkpoints"
    said = f"could not delete the checkpoints in {where}: Device or resource busy"
    assert said in text.getvalue()
    note = json.loads((result.folder / "tracking.json").read_text())
    assert (note["status"], note["done"]) == ("FINISHED", True)


@pytest.mark.parametrize("status", ["RUNNING", "KILLED", "FAILED"])
def test_what_a_run_came_to_is_read_from_its_summary(
    status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_note(tmp_path, Note(uri="http://host", run_id="r", status=status, done=status != "RUNNING"))
    write_json(tmp_path / "summary.json", {"status": "finished"})
    shipped: list[Note] = []

    def send_all(_folder: Path, note: Note) -> int:
        shipped.append(note)
        return 0

    monkeypatch.setattr(shipping, "_send_all", send_all)
    assert shipping.lacking(tmp_path)
    assert shipping.sync(tmp_path) == f"http://host has everything of {tmp_path}; 0 epochs were sent"
    assert (shipped[0].status, shipped[0].done) == ("FINISHED", False)


def test_a_run_that_another_process_finishes_meanwhile_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at its summary and the lock, data and teachers are read, which takes a while."""
    with pytest.raises(Interrupted):
        instantly(small_run(tmp_path), then=stop)
    folder, read_data = tmp_path / "one", running.read_data
    written: list[bytes] = []

    def finish(config: RunConfig) -> Any:
        monkeypatch.setattr(running, "read_data", read_data)
        instantly(None, resume=folder)
        written.append((folder / "student.safetensors").read_bytes())
        return read_data(config)

    monkeypatch.setattr(running, "read_data", finish)
    with pytest.raises(UserError, match=r"one: another process has finished it meanwhile$"):
        instantly(None, resume=folder, then=stop)
    assert [(folder / "student.safetensors").read_bytes()] == written
    assert finished_summary(folder) is not None
