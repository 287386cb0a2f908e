"""What cannot be read or written there is said in one line, before any work."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fusion.teachers import save_teacher
from orchestrator import auditing, choosing, comparison, evaluating, inspecting
from orchestrator.cli import app
from orchestrator.errors import UserError
from orchestrator.run_folder import check_target, write_bytes, write_json
from tests.fused import write_run
from tests.tiny import teacher

LONG = "x" * 300


def refused(*arguments: object) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 2, (done.output, done.exception)
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_teacher(teacher(), tmp_path / "one.safetensors")
    return tmp_path / "one.safetensors"


@pytest.mark.parametrize("target", [".", "", "/", "..", LONG, "one.safetensors/numbers.json"])
def test_no_command_begins_if_its_numbers_cannot_be_written(
    target: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.chdir(weights.parent)
    for module, name in (
        (evaluating, "evaluate"),
        (auditing, "audit"),
        (choosing, "examine"),
        (comparison, "collect"),
        (inspecting, "inspect"),
    ):
        monkeypatch.setattr(module, name, begun)
    for command in (["evaluate"], ["audit"], ["choose"], ["compare"], ["teachers", "inspect"]):
        assert refused(*command, weights, "--json", target).startswith("--json: ")


@pytest.mark.parametrize("target", [".", "/", LONG])
def test_a_report_is_a_file(target: str, tmp_path: Path) -> None:
    assert refused("report", write_run(tmp_path / "a"), "--to", target).startswith("--to: ")


@pytest.mark.parametrize("path", [Path(), Path("/"), Path("folder")])
def test_a_folder_is_not_written_over(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_bytes(path, b"")
    with pytest.raises(UserError, match=f"^here: {path}: Is a directory$"):
        check_target(path, "here: ")
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]
    for file in (Path("new/file"), Path("file")):
        check_target(file)
        write_json(file, 1)
        check_target(file)


def test_names_that_are_too_long_are_one_line(weights: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    parquet, file = tmp_path / f"{LONG}.parquet", tmp_path / f"{LONG}.safetensors"
    assert refused("choose", tmp_path / LONG).endswith(": File name too long")
    assert refused("dataset", run, "--out", parquet) == f"--out: {parquet}: File name too long"
    assert refused("teachers", "convert", weights, "--to", file) == f"--to: {file}: File name too long"
    given = ["--format", "safetensors", "--to", file]
    assert refused("export", weights, *given) == f"--to: {file}: File name too long"
    line = refused("reproduce", "dfmf-s1", f"output={tmp_path}/{LONG}")
    assert line.startswith("output: ") and line.endswith(": File name too long")
