"""The benchmark for GPUs, tried out on whatever is here."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import ROWS, main
from benchmarks.scaling import model
from fusion.compute import Compute, own_rounding

PARTS = {
    *("generator step", "assistant step", "images for the union", "augmentation"),
    *("labels of 2 teachers", "student step"),
}


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def report(path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> dict[str, Any]:
    small = ("--network", "resnet8-w8", "--size", "8", "--batch", "8", "--seconds", "0.001")
    monkeypatch.setattr("sys.argv", ["gpu", *small, "--json", str(path), *options])
    with own_rounding(torch.device("cuda")):
        main()
    loaded: dict[str, Any] = json.loads(path.read_text(), parse_constant=refuse)
    return loaded


def test_every_part_has_its_share_of_the_ceiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ("float32", "TF32, channels last", "bfloat16, channels last")
    numbers = report(tmp_path / "gpu.json", monkeypatch, "--rows", *chosen)
    assert [row["name"] for row in numbers["rows"]] == list(chosen)
    for row in numbers["rows"]:
        assert row["parts"].keys() == row["seconds"].keys() == PARTS
        for part in row["parts"].values():
            assert part["of_ceiling"] == pytest.approx(part["flops_per_s"] / numbers["ceiling_flops"])
        assert row["of_ceiling"] < max(part["of_ceiling"] for part in row["parts"].values())
        assert row["ratio"] == row["iterations_per_s"] / numbers["rows"][0]["iterations_per_s"]
        assert (row["peak_gib"] is None) == (not torch.cuda.is_available())
    assert numbers["rows"][0]["ratio"] == 1
    time = model(numbers["costs"], 4)
    assert time.student > 0 <= time.asking[0]
    assert len(time.label) == 4


def test_every_row_is_what_a_run_can_be_told_to_do() -> None:
    assert ROWS["float32"] == Compute(memory_format="contiguous", tf32=False)
    assert ROWS["as by default"] == Compute()
    assert len(set(ROWS.values())) == len(ROWS)
    assert Compute(tf32=True) in ROWS.values()


def test_one_party_does_not_tell_what_a_teacher_more_costs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        report(tmp_path / "gpu.json", monkeypatch, "--parties", "1")
    assert "--parties: at least 2" in capsys.readouterr().err
