"""What cannot be compared is refused in one line that says where it is and what is allowed."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.comparison import collect, compare
from tests.fused import trial, write_run, write_sweep

FAILED = trial("failed", 0, {"schedule.m_ga": 2}, "failed", "out of memory")


def damaged(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content)
    return folder


def changed(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refuse(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["compare", *arguments])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return line


def test_what_is_no_target_is_refused_with_what_is_allowed(tmp_path: Path) -> None:
    for target in (str(tmp_path / "nothing"), str(tmp_path), "with\0null"):
        line = refuse(target)
        assert "is no target" in line and "sweep.json" in line and "mlflow:EXPERIMENT" in line


def test_runs_on_other_data_are_refused_with_the_keys(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a")
    other = write_run(tmp_path / "b", "data.source=cifar10")
    line = refuse(str(one), str(other))
    assert "other data (data.source: digits and cifar10)" in line


def test_the_folder_of_a_named_data_set_is_no_other_data(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / root, f"data.root={root}", "data.source=cifar10") for root in ("x", "y")]
    assert len(compare(collect(runs)).groups) == 1


def test_other_teachers_are_refused_unless_their_pretraining_explains_them(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a")
    other = write_run(tmp_path / "b", "schedule.m_ga=1", hashes=("a0", "other"))
    line = refuse(str(one), str(other))
    assert "other teachers with seed 0 (party-1: sha256 b0 and other)" in line
    explained = write_run(tmp_path / "c", "pretrain.split=imbalanced", hashes=("c", "d"))
    assert len(compare(collect([one, explained])).groups) == 2
    for name in ("d", "e"):  # Named teachers are what they are.
        changes = ["pretrain=null", "teachers=[x.safetensors, y.safetensors]"]
        write_run(tmp_path / name, *changes, hashes=(name, "same"))
    assert "other teachers" in refuse(str(tmp_path / "d"), str(tmp_path / "e"))
    assert "other teachers" in refuse(str(one), str(tmp_path / "d"))


def test_what_is_said_of_teachers_beside_their_weights_makes_other_teachers(tmp_path: Path) -> None:
    def run(name: str, said: str, **changes: Any) -> str:
        teachers = f"teachers=[{{source: x.pt, name: x, {said}}}, {{source: y.pt, name: y}}]"
        return str(write_run(tmp_path / name, "pretrain=null", teachers, **changes))

    half = run("half", "mean: [0.5]")
    other = run("zero", "mean: [0.0]")
    assert "other teachers with seed 0 (teachers.0.mean: [0.5] and [0.0])" in refuse(half, other)
    # The others' files may say the same, so these are no refusal, but no repetition either.
    silent = run("silent", "licence: MIT", accuracy=70.0)
    mapped = run("swapped", "mean: [0.5], label_map: {'1': '2', '2': '1'}", accuracy=50.0)
    compared = compare(collect([half, silent, mapped]))
    assert [[run.name for run in group.runs] for group in compared.groups] == [
        ["half"],
        ["silent"],
        ["swapped"],
    ]
    again = compare(collect([half, run("again", "mean: [0.5]")]))
    assert len(again.groups) == 1 and "repeats the configuration" in again.notes[0]


def parquet(folder: Path, *overrides: str, output: str = "runs", **changes: Any) -> Path:
    """A run that was started in the folder above that of all runs."""
    data = f"data={{source: parquet, train: {overrides[0]}, test: {overrides[1]}}}"
    return write_run(folder, data, f"output={output}", *overrides[2:], **changes)


def test_data_given_from_the_root_on_or_from_where_a_run_was_started_are_the_same(tmp_path: Path) -> None:
    absolute = [str(tmp_path / "x" / name) for name in ("tr.parquet", "te.parquet")]
    relative = ["../x/tr.parquet", "../x/./te.parquet"]
    started = parquet(tmp_path / "p" / "runs" / "a", *relative)
    swept = parquet(tmp_path / "s" / "b", *absolute, output=str(tmp_path / "s"), seed=1)
    (group,) = compare(collect([started, swept])).groups
    assert len(group.runs) == 2
    other = parquet(tmp_path / "q" / "z" / "runs" / "c", *relative)
    assert f"other data (data.train: {absolute[0]} and ../x/tr.parquet" in refuse(str(swept), str(other))
    assert "other data" in refuse(str(other), str(swept))
    # Moved away from where it was started, only the end of a path can be held against another one.
    lost = parquet(tmp_path / "moved", "tr.parquet", "te.parquet")
    assert compare(collect([lost, swept])).counted
    lost = parquet(tmp_path / "also", "y/tr.parquet", "te.parquet")
    assert "data.train" in refuse(str(lost), str(swept))


def test_sources_of_images_are_the_same_wherever_they_are_written_from(tmp_path: Path) -> None:
    def run(folder: Path, sources: str, **changes: Any) -> Path:
        method = f"method={{name: transfer_set, sources: {sources}}}"
        return write_run(folder, "schedule.warmup_epochs=0", "output=runs", method, **changes)

    runs = [
        run(tmp_path / "runs" / "a", "[mine, noise]"),
        run(tmp_path / "runs" / "b", f"[{tmp_path}/mine, noise]", seed=1),
        run(tmp_path / "runs" / "c", f"[{tmp_path}/mine, {tmp_path}/noise]", seed=2),
        run(tmp_path / "elsewhere" / "runs" / "d", f"[{tmp_path}/other/mine, noise]", seed=3),
    ]
    groups = compare(collect(runs)).groups
    assert [[one.name for one in group.runs] for group in groups] == [["a", "b"], ["c"], ["d"]]


def test_an_empty_comparison_is_refused(tmp_path: Path) -> None:
    assert "no run is finished (failed is failed)" in refuse(str(write_sweep(tmp_path / "s", {}, FAILED)))
    interrupted = write_run(tmp_path / "a", status="interrupted")
    assert "no run is finished (a is interrupted)" in refuse(str(interrupted))
    (interrupted / "summary.json").unlink()
    assert "no run is finished (a is unfinished)" in refuse(str(interrupted))
    assert "there are no runs" in refuse(str(write_sweep(tmp_path / "empty", {})))


def test_teachers_alone_are_no_fusion(tmp_path: Path) -> None:
    assert "no fusion" in refuse(str(write_run(tmp_path / "a", student=None)))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("summary.json", "{", "summary.json: cannot be read"),
        ("summary.json", "[]", "summary.json: is damaged"),
        ("summary.json", '{"teachers": []}', "summary.json: is damaged (teachers: "),
        ("summary.json", '{"a": 1, "a": 2}', "summary.json: cannot be read"),
        ("config.yaml", "schedule: [", "config.yaml, line"),
        ("config.yaml", "unheard: 1", "config.yaml"),
        ("metrics.parquet", "no table", "metrics.parquet: is damaged"),
        ("environment.json", "[" * 100_000, "environment.json: cannot be read"),
    ],
)
def test_damaged_files_of_a_run_are_named(tmp_path: Path, name: str, content: str, told: str) -> None:
    result = CliRunner().invoke(app, ["compare", str(damaged(write_run(tmp_path / "a"), name, content))])
    assert result.exit_code == 2 and told in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": 2}, "sweep.json: is damaged (schema: "),
        ({"trials": [{"name": "x"}]}, "sweep.json: is damaged (trials.0."),
        (
            {"parameters": {"schedule.m_ga": {"label": "x", "scale": "cubic"}}},
            "parameters.schedule.m_ga.scale",
        ),
        ({"trials": [trial("../../elsewhere", 0, {})]}, "elsewhere is outside"),
        ({"trials": [trial("missing", 0, {})]}, "missing/config.yaml: No such file"),
    ],
)
def test_a_damaged_sweep_is_named(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    folder = write_sweep(tmp_path / "s", {(1, 0): 90.0})
    changed(folder / "sweep.json", **changes)
    assert told in refuse(str(folder))


def test_a_trial_that_is_finished_only_in_the_sweep_is_damage(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "s", {(1, 0): 90.0})
    changed(folder / "trials" / "schedule.m_ga=1,seed=0" / "summary.json", status="interrupted")
    assert "calls it finished, but it is interrupted" in refuse(str(folder))


def test_a_summary_that_belongs_to_another_seed_is_damage(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", seed=1)
    changed(folder / "summary.json", seed=2)
    assert "seed 2 in summary.json, 1 in config.yaml" in refuse(str(folder))
