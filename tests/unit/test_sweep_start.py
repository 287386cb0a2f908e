"""A sweep that is stopped, killed or out of room before it has planned anything leaves nothing in the way;
without Ray."""

import errno
import os
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.errors import Interrupted, RunFailed, UserError
from orchestrator.loading import parse_config
from orchestrator.sweep import driving, tracking
from orchestrator.sweep.driving import SweepResult, resume, run_space
from orchestrator.sweep.space import Space
from orchestrator.sweep.wishes import Wishes
from tests.paper_tables import stops_after, without_cluster
from tests.tiny import tiny_run

SPACE = Space(cases={"one": {"schedule.m_ga": 1}}, seeds=1)


def sweep(folder: Path, again: bool = False) -> SweepResult:
    tree = tiny_run(name="study", output=str(folder), tracking={"enabled": False})
    return run_space(parse_config(tree, "run"), SPACE, Wishes(space="s"), "s", Console(quiet=True), again)


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def away(*_: object) -> None:
    raise UserError("tracking.uri: the store cannot be reached")


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    without_cluster(monkeypatch)
    monkeypatch.setattr(driving, "run_trials", stops_after(0))


@pytest.mark.parametrize("where", ["_placed", "Board"])
def test_ctrl_c_at_the_start_leaves_no_folder_and_promises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(driving, where, stop)
    with pytest.raises(Interrupted, match=r"^stopped while starting; nothing has been run$"):
        sweep(tmp_path)
    assert not (tmp_path / "study").exists()


def test_ctrl_c_later_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match=f"to go on: dfmf sweep --resume {tmp_path / 'study'}$"):
        sweep(tmp_path)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("left", ["config.yaml", ".config.yaml.17", ".sweep.json.17"])
def test_after_a_kill_at_the_start_the_same_order_goes_on(tmp_path: Path, left: str, again: bool) -> None:
    (tmp_path / "study").mkdir()
    for name in (left, ".lock"):
        (tmp_path / "study" / name).write_text("student: resnet8\n")
    with pytest.raises(Interrupted, match="to go on"):
        sweep(tmp_path, again)
    assert {path.name for path in (tmp_path / "study").iterdir()} == {"config.yaml", "sweep.json", ".stop"}


def test_a_folder_with_more_than_a_start_is_another_run(tmp_path: Path) -> None:
    (tmp_path / "study" / "checkpoints").mkdir(parents=True)
    (tmp_path / "study" / "config.yaml").write_text("student: resnet8\n")
    with pytest.raises(UserError, match="already holds a run"):
        sweep(tmp_path)
    assert (tmp_path / "study" / "config.yaml").exists()


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "there/sweep.json")


@pytest.mark.parametrize("where", ["_begun", "Board"])
def test_a_disk_that_is_full_at_the_start_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(driving, where, full)
    with pytest.raises(UserError, match=r"^there/sweep.json: No space left on device; nothing has been run$"):
        sweep(tmp_path)
    assert not (tmp_path / "study").exists()


def test_a_disk_that_gets_full_is_one_line_and_with_room_the_sweep_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "run_trials", full)
    with pytest.raises(RunFailed) as error:
        sweep(tmp_path)
    assert str(error.value) == (
        "there/sweep.json: No space left on device; with room there again, to go on: "
        f"dfmf sweep --resume {tmp_path / 'study'}"
    )
    monkeypatch.setattr(driving, "run_trials", stops_after(1))
    assert [row["status"] for row in resume(tmp_path / "study", console=Console(quiet=True)).trials] == [
        "finished"
    ]


def test_a_store_that_cannot_be_reached_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "start", away)
    with pytest.raises(UserError, match="cannot be reached"):
        sweep(tmp_path)
    assert not (tmp_path / "study").exists()
