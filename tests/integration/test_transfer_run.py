"""A student of a transfer set on Ray: the images reach the parties' actors, and the bits are those of one
process."""

from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file

from orchestrator import fuse
from tests.tiny import tiny_run

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_ray_and_one_process_give_the_same_student_of_a_transfer_set(tmp_path: Path) -> None:
    students = []
    for mode in ("local", "ray"):
        tree = tiny_run(
            name=mode,
            method={"name": "transfer_set", "sources": ["data", "noise"], "images": 200, "beta": 1.0},
            schedule={"warmup_epochs": 0, "epochs": 2, "iterations_per_epoch": 2, "batch_size": 32},
            engine={"mode": mode},
            output=str(tmp_path / "runs"),
            checkpoint={"cache": str(tmp_path / "cache")},
            tracking={"enabled": False},
        )
        folder = fuse(tree, console=Console(quiet=True)).folder
        students.append(load_file(folder / "student.safetensors"))
        assert load_file(folder / "parties/party-1/bank.safetensors")["count"] > 0
    one, other = students
    assert all(one[name].equal(other[name]) for name in one)
