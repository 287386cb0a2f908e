"""What a person sees: progress on a terminal and in a log, pictures, tables."""

import errno
import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from fusion.methods import Dafl, TransferSet, VanillaKd
from fusion.networks import ImageSpec
from orchestrator import journal, progress, recording
from orchestrator.card import model_card
from orchestrator.plots import image_grid
from orchestrator.run_folder import write_json, write_text
from orchestrator.tables import class_table, result_lines, result_table
from orchestrator.terminal import terminal
from orchestrator.tracking import flat, metric_name
from tests.tiny import SPEC


def test_a_log_gets_a_plain_line_with_the_time_left_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    out = io.StringIO()
    with progress.Display(Console(file=out, width=100)) as display:
        for done in range(101):
            display.note = "student 50.0 %"
            display.advanced("fusion", done, 100)
            clock[0] += 0.5
    assert out.getvalue().splitlines() == [
        "fusion: 20/100, about 40 s left, student 50.0 %",
        "fusion: 40/100, about 30 s left, student 50.0 %",
        "fusion: 60/100, about 20 s left, student 50.0 %",
        "fusion: 80/100, about 10 s left, student 50.0 %",
    ]


def test_what_was_done_before_says_nothing_of_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    out = io.StringIO()
    with progress.Display(terminal(out, width=100)) as display:
        for done in range(900, 1000, 10):
            display.advanced("fusion", done, 1000)
            clock[0] += 4.0
    assert out.getvalue().splitlines() == [
        "fusion: 930/1000, about 28 s left",
        "fusion: 960/1000, about 16 s left",
        "fusion: 990/1000, about 4 s left",
    ]


def test_a_log_has_no_line_that_says_nothing_new_and_time_goes_by_while_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    out = io.StringIO()
    with progress.Display(terminal(out, width=100)) as display:
        for second in range(200):
            clock[0] = second
            display.note = "1 running" if second < 150 else "2 running"
            display.advanced("sweep", second // 60, 4)
    assert out.getvalue().splitlines() == [
        "sweep: 1/4, about 3 min 0 s left, 1 running",
        "sweep: 2/4, about 2 min 0 s left, 1 running",
        "sweep: 2/4, about 1 min 30 s left, 2 running",
        "sweep: 3/4, about 1 min 0 s left, 2 running",
    ]


def test_tables_in_a_log_are_not_cut_to_a_terminals_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal(io.StringIO()).width == 160
    assert terminal(io.StringIO(), width=100).width == 100
    monkeypatch.setenv("COLUMNS", "90")
    assert terminal(io.StringIO()).width == 90


def test_a_terminal_gets_a_bar_with_the_time_left() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with progress.Display(console) as display:
        display.note = "student 50.0 %"
        display.advanced("fusion", 30, 100)
        display.said("a line that stays")
    shown = out.getvalue()
    for words in ("fusion", "30/100", "left", "student 50.0 %", "a line that stays"):
        assert words in shown


def test_the_journal_becomes_a_table(tmp_path: Path) -> None:
    journal.append_epoch(tmp_path, 0, 0, {"warmup/a/bn": 2.5})
    journal.append_epoch(tmp_path, 1, 10, {"student/distill": 0.5, "eval/accuracy": 90.0})
    epochs = journal.read_epochs(tmp_path)
    journal.write_table(tmp_path)
    assert journal.read_epochs(tmp_path) == epochs
    rows = pq.read_table(tmp_path / journal.TABLE).to_pylist()
    assert all(row.pop("timestamp_ms") > 1.7e12 for row in rows)
    assert rows == [
        {"epoch": 0, "iteration": 0, "name": "warmup/a/bn", "value": 2.5},
        {"epoch": 1, "iteration": 10, "name": "student/distill", "value": 0.5},
        {"epoch": 1, "iteration": 10, "name": "eval/accuracy", "value": 90.0},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.parquet"]


def test_a_journal_forgets_what_came_after_a_checkpoint_and_a_line_that_was_cut_off(tmp_path: Path) -> None:
    for epoch in range(4):
        journal.append_epoch(tmp_path, epoch, 10 * epoch, {"eval/accuracy": float(epoch)})
    with (tmp_path / journal.JOURNAL).open("a") as file:
        file.write('{"epoch": 4, "itera')
    assert [one["epoch"] for one in journal.read_epochs(tmp_path)] == [0, 1, 2, 3]
    assert [one["epoch"] for one in journal.go_back(tmp_path, 2)] == [0, 1, 2]
    assert [one["epoch"] for one in journal.read_epochs(tmp_path)] == [0, 1, 2]
    assert journal.go_back(tmp_path, -1) == []


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_grid_shows_every_image_in_its_place(channels: int) -> None:
    images = np.arange(16, dtype=np.uint8).reshape(16, 1, 1, 1) * np.ones((1, channels, 8, 8), dtype=np.uint8)
    grid = np.asarray(image_grid(images))
    tile = grid.shape[1] // 8
    centres = grid[tile // 2 :: tile, tile // 2 :: tile]
    found = centres if channels == 1 else centres[..., 0]
    assert found.tolist() == np.arange(16).reshape(2, 8).tolist()


def test_the_table_has_a_row_for_everything_and_a_dash_where_nothing_was_measured() -> None:
    entry = {"network": "resnet8", "accuracy": None, "macs": 1_000_000}
    summary = {
        "teachers": [{"name": "A", **entry}],
        "ensemble": entry,
        "student": {**entry, "accuracy": 97.5, "agreement": 98.25, "agreement_on": "test images"},
        "gap_closed": 40.0,
        "seconds": 3.0,
    }
    out = io.StringIO()
    Console(file=out, width=100).print(result_table(summary))
    lines = [line.split() for line in out.getvalue().splitlines() if line.strip()]
    assert lines[2:] == [
        ["teacher", "A", "resnet8", "-", "1.00"],
        ["teachers'", "ensemble", "1", "networks", "-", "1.00"],
        ["fused", "student", "resnet8", "97.50", "1.00"],
    ]
    assert result_lines(summary, Path("runs/x"))[0].startswith("the student closes 40 % of the gap")
    assert "below the best teacher" in result_lines({**summary, "gap_closed": -3.0}, None)[0]


def test_brackets_in_names_are_shown_as_they_are() -> None:
    out, names = io.StringIO(), ("[a]", "[/b]", r"\[red]", "1.5")
    entry = {"network": "n", "accuracy": 50.0, "per_class": [1.0, 2.0, 3.0, 4.0], "per_subset": [5.0]}
    scores = {"teachers": [{"name": "[bold]", **entry}], "student": entry, "ensemble": entry}
    shown = terminal(out, width=100)
    shown.print(class_table({**scores, "classes": names}))
    shown.print("teachers=[/runs/a.safetensors, /runs/b.safetensors]")
    for words in (*names, "[bold]", "teachers=[/runs/a.safetensors, /runs/b.safetensors]"):
        assert words in out.getvalue()


def test_a_partys_class_names_stay_words_in_the_model_card() -> None:
    names = ("golden-retriever", "<script>x</script>", "[a](javascript:b)", "`x` | **y**", "# z", "Łódź, 3.5")
    entry = {"network": "resnet8", "accuracy": None, "macs": 1}
    summary = {
        "teachers": [{"name": "A", "sha256": "0", **entry}],
        "ensemble": entry,
        "student": {**entry, "agreement": None, "agreement_on": "nothing"},
        "seed": 0,
        "iterations": 1,
        "seconds": 1.0,
        "status": "finished",
    }
    spec = ImageSpec(size=8, channels=1, classes=names, mean=(0.5,), std=(0.5,))
    card = model_card("run", "resnet8", spec, summary, Dafl())
    assert "without any of\ntheir data\n(DAFL, Chen et al., ICCV 2019, with several teachers)." in card
    assert "No raw training data was used" in card
    for real in (VanillaKd(), TransferSet(sources=("noise", "data"))):
        told = model_card("run", "resnet8", spec, summary, real)
        assert "on images of\ntheir data" in told
        assert "Raw training data was used in the fusion" in told
        assert "without any" not in told
    assert "without any of" in model_card("run", "resnet8", spec, summary, TransferSet())
    shown = card.partition("in this order, are ")[2].partition("\n")[0]
    words = r"golden-retriever, \<script\>x\<\/script\>, \[a\](javascript\:b), \`x\` \| \*\*y\*\*, \# z"
    assert shown == words + ", Łódź, 3.5."


def test_files_appear_whole_and_hold_only_valid_json(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "text")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "c.json", {"value": float("nan")})
    assert not (tmp_path / "c.json").exists()
    write_json(tmp_path / "c.json", {"value": None})
    assert json.loads((tmp_path / "c.json").read_text()) == {"value": None}


def test_a_file_that_two_threads_write_is_one_of_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, half_way = tmp_path / "a.json", threading.Barrier(2, timeout=30)
    flush = os.fsync

    def slow(descriptor: int) -> None:
        half_way.wait()  # Both have opened their file, and written to it.
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    threads = [threading.Thread(target=write_json, args=(path, [one] * 1000 * one)) for one in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert json.loads(path.read_text()) in ([1] * 1000, [2] * 2000)
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_leaves_the_file_as_it_was_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_text(tmp_path / "a", "before")
    journal.append_epoch(tmp_path, 1, 5, {})
    monkeypatch.setattr(os, "fsync", full)
    for write in (lambda: write_text(tmp_path / "a", "after"), lambda: journal.go_back(tmp_path, 0)):
        with pytest.raises(OSError, match="No space left"):
            write()
    assert (tmp_path / "a").read_text() == "before"
    assert len(journal.read_epochs(tmp_path)) == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "metrics.jsonl"]


def test_names_and_keys_as_mlflow_takes_them() -> None:
    assert metric_name("generator/party é#1/adv") == "generator/party é_1/adv"
    assert flat({"a": {"b": {"c": 1}}, "d": [1, 2]}) == {"a.b.c": 1, "d": [1, 2]}


def test_a_teacher_may_be_called_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every fused student is that teaches again."""

    def scored(value: float) -> dict[str, Any]:
        return {"accuracy": value, "per_class": [value], "per_subset": [value] * 2}

    summary: dict[str, Any] = {
        "teachers": [{"name": "student", **scored(60.0)}, {"name": "b", **scored(70.0)}],
        "ensemble": scored(80.0),
        "student": scored(90.0),
        "classes": ["x"],
    }
    table = class_table(summary)
    assert [column.header for column in table.columns] == ["class", "student", "b", "ensemble", "student"]
    assert [next(iter(column.cells)) for column in table.columns] == ["x", "60.00", "70.00", "80.00", "90.00"]
    drawn: dict[str, Any] = {}
    for name in ("plot_subsets", "plot_accuracy"):
        monkeypatch.setattr(recording, name, lambda _, *given, name=name: drawn.update({name: given[-1]}))
    recorder = recording.Recorder(
        tmp_path, progress.Display(terminal()), lambda: None, "n", SPEC, 1, lambda *_: None
    )
    recorder.accuracies.append(90.0)
    recorder.plots(summary)
    assert drawn["plot_subsets"] == [
        *(("student", [60.0] * 2), ("b", [70.0] * 2)),
        *(("ensemble", [80.0] * 2), ("student", [90.0] * 2)),
    ]
    assert drawn["plot_accuracy"] == [("student", 60.0), ("b", 70.0), ("ensemble", 80.0)]
