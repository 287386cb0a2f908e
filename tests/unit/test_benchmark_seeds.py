"""The benchmark over seeds: each run has a folder of its own, what was stopped goes on, and what a run has
none of is a dash."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.seeds import cell, main, run_name

SUMMARY: dict[str, Any] = {
    "status": "finished",
    "teachers": [{"accuracy": 80.0}, {"accuracy": 90.0}],
    "ensemble": {"accuracy": 89.0},
    "student": {"accuracy": 85.0},
    "gap_closed": None,
    "seconds": 2.0,
}


class Fuse:
    """`dfmf fuse` as a benchmark calls it: notes the command and leaves a summary."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        self.commands.append(command)
        given = dict(one.split("=", 1) for one in command if "=" in one)
        folder = Path(given["output"]) / given["name"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text(json.dumps(SUMMARY))
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def fuse(monkeypatch: pytest.MonkeyPatch) -> Fuse:
    made = Fuse()
    monkeypatch.setattr(subprocess, "run", made)
    return made


def benchmark(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["seeds", "digits", *arguments])
    main()


def test_names_tell_all_changes_apart_however_long() -> None:
    long = ["engine.mode=local", "method.critic_mode=eval", "optimisation.student_lr=0.05"]
    names = {run_name("digits", [f"schedule.epochs={epochs}", *long], 0) for epochs in (10, 24)}
    names |= {run_name("digits", ["a=b"], 0), run_name("digits", ["a-b"], 0)}
    names |= {run_name("one/run.yaml", [], 0), run_name("other/run.yaml", [], 0)}
    assert len(names) == 6
    assert max(map(len, names)) <= 64
    assert run_name("digits", [], 0) == "digits-seed0"


def test_what_there_is_none_of_is_a_dash_and_null(
    tmp_path: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = tmp_path / "numbers.json"
    benchmark(monkeypatch, "--seeds", "0", "--output", str(tmp_path), "--json", str(numbers))
    row = capsys.readouterr().out.splitlines()[-1]
    assert [one.strip() for one in row.strip("|").split("|")] == [
        *("as is", "90.00 ± -", "80.00 ± -", "89.00 ± -", "85.00 ± -", "-", "-", "2.00 ± -")
    ]
    (found,) = json.loads(numbers.read_text())["rows"]
    assert found["values"]["gold standard"] == found["values"]["gap closed"] == [None]
    assert (cell([1.0, 3.0]), cell([1.0, None])) == ("2.00 ± 1.41", "1.00 ± - (1)")


def test_a_run_that_was_stopped_goes_on_and_a_finished_one_stays(
    tmp_path: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted, killed = (tmp_path / f"digits-seed{seed}" for seed in (0, 1))
    for folder in (interrupted, killed):
        folder.mkdir()
        (folder / "config.yaml").write_text("student: resnet8\n")
    stopped = {**SUMMARY, "status": "interrupted", "student": {"accuracy": None}}
    (interrupted / "summary.json").write_text(json.dumps(stopped))
    for _ in range(2):
        benchmark(monkeypatch, "--seeds", "0", "1", "--output", str(tmp_path))
    assert [one[-2:] for one in fuse.commands] == [
        ["--resume", str(interrupted)],
        ["--resume", str(killed)],
    ]
