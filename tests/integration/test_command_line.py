"""The commands as processes: output, exit codes, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.tiny import tiny_run

ROOT = Path(__file__).parents[2]


def dfmf(*arguments: str, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def config_file(folder: Path, **changes: object) -> Path:
    path = folder / "run.yaml"
    path.write_text(
        yaml.safe_dump(tiny_run(output=str(folder / "runs"), tracking={"enabled": False}, **changes))
    )
    return path


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["init"],
        ["pretrain"],
        ["fuse"],
        ["evaluate"],
        ["choose"],
        ["audit"],
        ["doctor"],
        ["sync"],
        ["reproduce"],
    ],
)
def test_every_command_explains_itself(command: list[str], tmp_path: Path) -> None:
    done = dfmf(*command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage:" in done.stdout
    assert all(len(line) <= 120 for line in done.stdout.splitlines())


def test_init_writes_a_valid_commented_file_once(tmp_path: Path) -> None:
    done = dfmf("init", "digits", "--to", "mine.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "wrote mine.yaml; run it with: dfmf fuse mine.yaml\n")
    assert (tmp_path / "mine.yaml").read_text().startswith("# ")
    again = dfmf("init", "digits", "--to", "mine.yaml", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (
        2,
        "mine.yaml: is there already; give another file with --to\n",
    )
    listed = dfmf("init", "--list", cwd=tmp_path).stdout.splitlines()
    assert any(line.startswith("digits-union ") and line.endswith(" CPU cores.") for line in listed)


def test_dry_run_shows_everything_and_writes_nothing(tmp_path: Path) -> None:
    done = dfmf(
        "fuse", str(config_file(tmp_path)), "method.alpha=0.25", "engine.mode=ray", "--dry-run", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "alpha: 0.25" in done.stdout
    assert "party party-1" in done.stdout
    for word in ("FLOP", "memory", "time", "CPUs"):
        assert word in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.yaml"]


def test_fuse_and_evaluate(tmp_path: Path) -> None:
    done = dfmf("fuse", str(config_file(tmp_path)), "name=first", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in (
        "teacher party-0",
        "teacher party-1",
        "teachers' ensemble",
        "fused student",
        "gold standard",
    ):
        assert word in done.stdout
    folder = tmp_path / "runs" / "first"
    assert f"results in {folder}" in done.stdout
    accuracy = json.loads((folder / "summary.json").read_text())["student"]["accuracy"]
    assert f"{accuracy:.2f}" in done.stdout
    measured = dfmf("evaluate", str(folder), "--json", "scores.json", cwd=tmp_path)
    assert measured.returncode == 0, measured.stderr
    assert "block 1" in measured.stdout
    assert json.loads((tmp_path / "scores.json").read_text())["student"]["accuracy"] == accuracy
    assert dfmf("fuse", str(config_file(tmp_path)), "name=first", cwd=tmp_path).returncode == 2


def test_wrong_input_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    path = config_file(tmp_path)
    for arguments, words in (
        (
            ["fuse", str(path), "method.alpah=1"],
            "command line: method.alpah: unknown key; did you mean 'alpha'?",
        ),
        (["fuse", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["pretrain", str(path), "pretrain=null"], "run.yaml: teachers: name at least one"),
        (["evaluate", "nowhere"], "nowhere: no .safetensors file"),
        (["init", "digit"], "digit: unknown preset"),
        (["fuse", str(path), "engine.gpus_per_party=1", "engine.mode=ray"], "need 2 GPUs"),
    ):
        done = dfmf(*arguments, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not list((tmp_path / "runs").glob("*/*"))


@pytest.mark.ray
def test_doctor_finds_this_machine_fit_and_names_what_is_not(tmp_path: Path) -> None:
    path = str(config_file(tmp_path))
    well = dfmf("doctor", path, "engine.mode=ray", "--json", "found.json", cwd=tmp_path)
    assert well.returncode == 0, well.stdout + well.stderr
    assert "a private cluster ran a task: 1 node" in well.stdout
    assert "\x1b[" not in well.stdout
    assert json.loads((tmp_path / "found.json").read_text())["problems"] == 0
    assert sorted(one.name for one in tmp_path.iterdir()) == ["found.json", "run.yaml"]
    ill = dfmf("doctor", path, "engine.mode=ray", "engine.address=127.0.0.1:1", cwd=tmp_path)
    assert (ill.returncode, ill.stderr) == (1, "")
    assert "problem ray               engine.address: no Ray cluster at 127.0.0.1:1 (" in ill.stdout
    assert "-> start it, or correct engine.address or RAY_ADDRESS" in ill.stdout
    assert dfmf("doctor", "nowhere.yaml", cwd=tmp_path).returncode == 2


@pytest.mark.ray
@pytest.mark.parametrize("mode", ["ray", "local"])
def test_ctrl_c_stops_soon_and_keeps_what_was_computed(mode: str, tmp_path: Path) -> None:
    schedule = {"warmup_epochs": 1, "epochs": 1000, "iterations_per_epoch": 5, "batch_size": 32}
    path = config_file(tmp_path, name="long", schedule=schedule)
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "fuse", str(path), f"engine.mode={mode}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What starts the tests may ignore SIGINT, as a shell does for its background jobs; a terminal does
        # not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    student = tmp_path / "runs" / "long" / "student.safetensors"
    try:
        errors = interrupt_after(student, process)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert errors.startswith("stopped; the student of the last epoch is ")
    assert f"dfmf evaluate {tmp_path}/runs/long" in errors
    assert f"to go on: dfmf fuse --resume {tmp_path}/runs/long" in errors
    assert len(errors.splitlines()) == 1, errors
    summary = json.loads((student.parent / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert 0 < summary["iterations"] < 5000
    measured = dfmf("evaluate", str(student.parent), cwd=tmp_path)
    assert measured.returncode == 0, measured.stderr


def interrupt_after(student: Path, process: subprocess.Popen[str]) -> str:
    """Send Ctrl-C as a terminal does, to the whole group, once there is a student; what it then says."""
    deadline = time.monotonic() + 240
    while not student.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return errors
