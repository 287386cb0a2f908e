"""The folder of a run, made again from its checkpoints."""

import errno
import json
from pathlib import Path

import pytest
import torch

from orchestrator import recovering
from orchestrator.checkpoints import Checkpoints
from orchestrator.errors import UserError
from orchestrator.loading import dump_config, load_config
from orchestrator.recovering import carried, is_storage, recovered
from orchestrator.snapshot import Snapshot
from orchestrator.storage import LocalStorage

FILES = {
    "config.yaml": dump_config(load_config("demo", ["output=runs"])),
    "metrics.jsonl": '{"epoch": 0}\n',
    "tracking.json": json.dumps({"uri": "http://127.0.0.1:5000", "run_id": "0"}),
    "teachers/party-0.json": "{}",
}


def begun(folder: Path, **changes: str) -> Path:
    """A run's folder, with files that are carried and one that is not."""
    for name, text in {**FILES, **changes, "summary.json": "{}"}.items():
        path = folder / "one" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "one"


def kept(place: Path, run: Path | None) -> Checkpoints:
    return Checkpoints(LocalStorage(place), 2, {}, print, (lambda: carried(run)) if run else dict)


def snapshot(iterations: int) -> Snapshot:
    return Snapshot(iterations=iterations, student={"weight": torch.zeros(3)})


def test_the_folder_is_as_it_was_when_the_newest_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, place = begun(tmp_path / "lost"), tmp_path / "kept"
    kept(place, run).save(snapshot(1))
    (run / "metrics.jsonl").write_text("more\n")
    kept(place, run).save(snapshot(2))
    folder = recovered(str(place), [], print)
    assert folder == tmp_path / "runs" / "one"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == set(FILES)
    assert (folder / "metrics.jsonl").read_text() == "more\n"
    assert (folder / "teachers" / "party-0.json").read_text() == "{}"
    with pytest.raises(UserError, match=rf"is there; go on with: dfmf fuse --resume {folder}"):
        recovered(str(place), [], print)
    assert recovered(str(place), ["name=two"], print) == tmp_path / "runs" / "two"


def test_a_checkpoint_whose_files_are_damaged_gives_way_to_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, place = begun(tmp_path / "lost"), tmp_path / "kept"
    for number in (1, 2):
        (run / "metrics.jsonl").write_text(f"{number}\n")
        kept(place, run).save(snapshot(number))
    (place / "checkpoint-00000002" / "carried-one--metrics.jsonl").write_text("3\n")
    said: list[str] = []
    folder = recovered(str(place), [], said.append)
    assert (folder / "metrics.jsonl").read_text() == "1\n"
    assert said == [
        "checkpoint-00000002 is damaged (carried-one--metrics.jsonl: its hash does not match); using the one "
        "before"
    ]
    assert kept(place, None).load().iterations == 1


@pytest.mark.parametrize(
    "path",
    ["one/../../evil.json", "/etc/evil.json", "one/teachers/../evil.json", "one/evil.py", "../evil.json"],
)
def test_nothing_is_written_outside_the_folder(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {**carried(begun(tmp_path / "lost")), path: b"evil"}
    Checkpoints(LocalStorage(tmp_path / "kept"), 2, {}, print, lambda: files).save(snapshot(1))
    before = {one for one in tmp_path.rglob("*") if "runs" not in one.parts}
    said: list[str] = []
    folder = recovered(str(tmp_path / "kept"), [], said.append)
    found = {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}
    assert found - {"evil.json"} == set(FILES)
    assert {one for one in tmp_path.rglob("*") if "runs" not in one.parts} == before
    assert not Path("/etc/evil.json").exists()
    assert said == []


@pytest.mark.parametrize("stray", [".party-0.safetensors.4711", "notes.txt", "my notes.json", "a.json/b"])
@pytest.mark.parametrize("filtered", [True, False])
def test_what_else_lies_among_the_teachers_is_in_nobodys_way(
    filtered: bool, stray: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = begun(tmp_path / "lost", **{f"teachers/{stray}": "x"})
    files = carried(run)
    assert set(files) == {f"one/{name}" for name in FILES}
    if not filtered:  # As checkpoints were written before.
        files |= {f"one/teachers/{stray}": b"x"}
    place = LocalStorage(tmp_path / "kept")
    Checkpoints(place, 2, {}, print, lambda: files).save(snapshot(1))
    said: list[str] = []
    folder = recovered(str(tmp_path / "kept"), [], said.append)
    assert {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()} == set(FILES)
    assert said == []
    assert place.folders() == ["checkpoint-00000001"]


@pytest.mark.parametrize("name", ["my run", "läuft", ".hidden", "my run (2)"])
def test_a_folder_of_any_name_can_be_made_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = begun(tmp_path / "lost").rename(tmp_path / name)
    kept(tmp_path / "kept", run).save(snapshot(1))
    assert {one.split("/", 1)[0].isascii() for one in carried(run)} == {True}
    folder = recovered(str(tmp_path / "kept"), [], print)
    assert folder.parent == tmp_path / "runs"
    assert (folder / "teachers" / "party-0.json").exists()
    older = {f"{name}/{path}": text.encode() for path, text in FILES.items()}  # As it was written before.
    Checkpoints(LocalStorage(tmp_path / "older"), 2, {}, print, lambda: older).save(snapshot(1))
    assert (recovered(str(tmp_path / "older"), ["name=two"], print) / "metrics.jsonl").exists()


def test_checkpoints_without_a_folder_are_refused(tmp_path: Path) -> None:
    kept(tmp_path / "kept", None).save(snapshot(1))
    for place in (tmp_path / "kept", tmp_path / "nothing"):
        with pytest.raises(UserError, match="holds no whole checkpoint that carries its run's folder"):
            recovered(str(place), [], print)


@pytest.mark.parametrize(
    ("uri", "known"), [("http://127.0.0.1:5000", True), ("sqlite:////lost/mlflow.db", False)]
)
def test_a_run_in_a_database_that_is_lost_is_begun_anew(
    uri: str, known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    note = json.dumps({"uri": uri, "run_id": "0"})
    kept(tmp_path / "kept", begun(tmp_path / "lost", **{"tracking.json": note})).save(snapshot(1))
    assert (recovered(str(tmp_path / "kept"), [], print) / "tracking.json").exists() == known


def test_a_folder_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept(tmp_path / "kept", begun(tmp_path / "lost")).save(snapshot(1))
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match=rf"^output: cannot write to {tmp_path / 'runs'}: "):
        recovered(str(tmp_path / "kept"), [], print)
    (tmp_path / "runs").unlink()

    def full(path: Path, _data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recovering, "write_bytes", full)
    with pytest.raises(UserError, match="No space left on device"):
        recovered(str(tmp_path / "kept"), [], print)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_place_is_told_from_a_run(tmp_path: Path) -> None:
    kept(tmp_path / "kept", None).save(snapshot(1))
    assert is_storage(tmp_path / "kept")
    assert is_storage("s3://bucket/run")
    assert not is_storage(begun(tmp_path))
    assert not is_storage(tmp_path / "nothing")
