"""Exports say what the student says, for any number of images, and nothing is overwritten."""

import errno
import math
import os
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from fusion.teachers import load_teacher, save_teacher
from orchestrator import exporting
from orchestrator.cli import app
from tests.tiny import teacher


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["export", *arguments])
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done.exit_code, done.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_teacher(teacher(0), tmp_path / "student.safetensors")
    return tmp_path


def test_torch_export_is_read_back_and_says_the_same(folder: Path) -> None:
    code, said = run(str(folder), "--format", "torch-export")
    assert (code, "tolerance 1e-05" in said) == (0, True)
    program = torch.export.load(folder / "exported-student.pt2")
    for count in (1, 3):
        images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            torch.testing.assert_close(program.module()(images), teacher(0).build()(images).logits)
    assert run(str(folder), "--format", "torch-export")[0] == 2
    assert "is there already" in run(str(folder), "--format", "torch-export")[1]


def test_safetensors_is_a_teacher_again(folder: Path) -> None:
    to = folder / "x.safetensors"
    assert run(str(folder / "student.safetensors"), "--format", "safetensors", "--to", str(to))[0] == 0
    assert all(torch.equal(load_teacher(to).weights[name], one) for name, one in teacher(0).weights.items())


def test_onnx_says_the_same_of_any_number_of_images(folder: Path) -> None:
    code, said = run(str(folder), "--format", "onnx")
    assert (code, "tolerance 1e-05" in said) == (0, True)
    session = onnxruntime.InferenceSession(folder / "exported-student.onnx")
    assert [(one.name, one.shape) for one in session.get_inputs()] == [("images", ["batch", 1, 8, 8])]
    for count in (1, 3):
        images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        with torch.no_grad():
            expected = teacher(0).build()(images).logits
        assert expected.std() > 0
        torch.testing.assert_close(torch.from_numpy(logits), expected)


def test_a_missing_library_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, said = run(str(folder), "--format", "onnx")
    assert (code, said.strip()) == (
        2,
        "--format onnx: onnxruntime is not installed: pip install 'dfmf[onnx]'",
    )


def test_what_says_other_things_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    code, said = run(str(folder), "--format", "torch-export")
    assert (code, "was not kept" in said) == (2, True)
    assert not (folder / "exported-student.pt2").exists()


def test_an_answer_that_is_no_number_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([1.0, math.nan, 1.0])
    made = b"", lambda images: torch.full((len(images), 4), next(answers))
    monkeypatch.setattr(exporting, "_program", lambda *_: made)
    monkeypatch.setattr(exporting, "TOLERANCE", 1e9)
    monkeypatch.setattr(exporting, "BATCHES", (1, 2, 3))
    code, said = run(str(folder), "--format", "torch-export")
    assert (code, "differ from the student's by nan" in said) == (2, True)
    assert [path.name for path in folder.iterdir() if "exported" in path.name] == []


@pytest.mark.parametrize("form", ["torch-export", "safetensors"])
def test_a_full_disk_leaves_nothing_in_the_way(
    form: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name for path in folder.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr("fusion.teachers.json.dumps", full)  # After the weights are there.
        code, said = run(str(folder), "--format", form)
    assert (code, said.count("\n")) == (2, 1)
    assert "No space left on device" in said
    assert {path.name for path in folder.iterdir()} == before
    assert run(str(folder), "--format", form)[0] == 0


def test_wrong_arguments_are_one_line(folder: Path, tmp_path: Path) -> None:
    for arguments, words in (
        ([str(tmp_path / "gone")], "no .safetensors file"),
        ([str(folder), "--to", str(tmp_path / "x.onnx")], "must end in .pt2"),
        ([str(folder), "--to", str(tmp_path / "no" / "x.pt2")], "x.pt2: No such file or directory"),
    ):
        code, said = run(*arguments)
        assert code == 2, said
        assert words in said
        assert said.count("\n") == 1
