"""Runs that end before they have begun, or while their storage is away: what is left, and what is said."""

import contextlib
import dataclasses
import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator import Interrupted, fuse, run_folder, running
from orchestrator.auditing import audit
from orchestrator.engines import Job
from orchestrator.errors import RunFailed, UserError
from orchestrator.evaluating import evaluate
from orchestrator.exporting import export
from orchestrator.running import pretrain
from orchestrator.sharing import check_cache
from orchestrator.storage import LocalStorage, check_writable
from orchestrator.surroundings import alone
from orchestrator.waiting import ActorLost
from tests.instant import instantly, small_run, stop
from tests.unit.test_storage import in_memory


def begin(fusion: Callable[[Job], None], folder: Path, *overrides: str, **changes: Any) -> None:
    instantly(small_run(folder / "runs", **changes), *overrides, then=fusion)


def nothing(_job: Job) -> None:
    raise AssertionError("it began")


@pytest.mark.parametrize("key", ["to", "cache"])
@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_place_that_cannot_be_written_to_is_refused_before_anything_is_written(
    key: str, place: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=rf"^checkpoint\.{key}: cannot (read|write to) .*{place}: [A-Z]"):
        begin(nothing, tmp_path, f"checkpoint.{key}={tmp_path / place}")
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_a_probe_writes_is_gone_again(tmp_path: Path) -> None:
    check_writable(LocalStorage(tmp_path / "a" / "b"))
    check_cache(None)
    check_cache(str(tmp_path / "cache"))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["a", "cache"]
    remote = in_memory(tmp_path)
    check_writable(remote)
    with pytest.raises(FileNotFoundError):
        remote.read("probe", "probe")


def test_storage_that_is_away_in_mid_run_is_no_wrong_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(job: Job) -> None:
        broken = OSError(errno.EIO, "Input/output error")
        monkeypatch.setattr(LocalStorage, "folders", lambda _: (_ for _ in ()).throw(broken))
        job.keeper.newest()

    with pytest.raises(
        RunFailed, match=r"cannot read the checkpoints in .*: Input/output error; .* --resume "
    ):
        begin(away, tmp_path)


def test_a_transfer_set_that_is_refused_leaves_the_name_free_unless_something_was_computed(
    tmp_path: Path,
) -> None:
    method = {"name": "transfer_set", "sources": ["noise"], "images": 10, "balanced": False}
    with pytest.raises(
        RunFailed,
        match=r"^method\.sources: 10 images .*; its classifiers stay in .*/teachers; once .*--resume ",
    ):
        begin(nothing, tmp_path, "schedule.warmup_epochs=0", method=method)
    teachers = [
        str(tmp_path / "runs" / "one" / "teachers" / f"party-{party}.safetensors") for party in (0, 1)
    ]
    with pytest.raises(UserError, match=r"^method\.sources: 10 images"):
        begin(nothing, tmp_path, "schedule.warmup_epochs=0", "name=two", method=method, teachers=teachers)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["one"]


@pytest.mark.parametrize("place", ["x" * 300, "a\0b"])
@pytest.mark.parametrize(
    "look", [evaluate, audit, lambda one: export(one, "onnx"), lambda one: pretrain(resume=Path(one))]
)
def test_what_cannot_be_a_path_is_one_line(look: Callable[[str], object], place: str) -> None:
    with pytest.raises(UserError, match=r"\A[^\n]+\Z"):
        look(place)


def test_what_may_not_be_looked_at_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, **_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(UserError, match=r"^--resume: cannot read .*/run: Permission denied$"):
        pretrain(resume=tmp_path / "run")


def test_an_actor_that_is_lost_on_a_full_disk_is_one_line_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def lost(_job: Job) -> None:
        monkeypatch.setattr(run_folder, "write_text", full)
        raise ActorLost("party-0 failed")

    words = r"^party-0 failed; the details could not be written \(.*: No space left .*\); .*to go on: "
    with pytest.raises(RunFailed, match=words):
        begin(lost, tmp_path)
    monkeypatch.undo()
    with pytest.raises(RunFailed, match=r"; the details are in .*/runs/two/error\.txt; "):
        begin(lambda job: _raise(ActorLost("party-0 failed")), tmp_path, "name=two")
    assert (tmp_path / "runs" / "two" / "error.txt").read_text().startswith("party-0 failed\n")


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (KeyboardInterrupt(), "^stopped; nothing has been run$"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; nothing has been run$"),
    ],
)
def test_a_run_that_ends_before_its_engine_is_there_leaves_nothing(
    problem: BaseException, said: str, tmp_path: Path
) -> None:
    """A cluster that has to grow first may be waited for long."""

    @contextlib.contextmanager
    def engine(_config: object, _say: object) -> Iterator[Any]:
        raise problem
        yield

    around = dataclasses.replace(alone(), engine=engine)
    with pytest.raises((Interrupted, RunFailed), match=said):
        fuse(small_run(tmp_path), console=Console(quiet=True), surroundings=around)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_there_to_be_gone_on_with_before_mlflow_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "_shipper", stopped)
    with pytest.raises(Interrupted, match=r"^stopped; to go on: dfmf fuse --resume "):
        begin(nothing, tmp_path)
    monkeypatch.undo()
    assert instantly(None, resume=tmp_path / "runs" / "one").summary["status"] == "finished"


def test_a_run_does_not_begin_anew_because_its_checkpoints_are_sought_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        begin(stop, tmp_path)
    folder, elsewhere = tmp_path / "runs" / "one", tmp_path / "elsewhere"
    override = f"checkpoint.to={elsewhere}"
    with pytest.raises(UserError) as caught:
        instantly(None, override, resume=folder)
    assert str(caught.value) == (
        f"checkpoint.to: {elsewhere} holds no checkpoint; this run's are in {folder / 'checkpoints'}: leave "
        "it as it was, or copy them"
    )
    assert not elsewhere.exists()
    (folder / "checkpoints").rename(elsewhere)
    assert instantly(None, override, resume=folder).summary["iterations"] == 10
