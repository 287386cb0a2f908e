"""A student of a transfer set on Ray: the images reach the parties' actors, and the bits are those of one
process."""

from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from benchmarks.driver import Driver
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
        (tmp_path / f"{mode}.yaml").write_text(yaml.safe_dump(tree))
        code, _, errors = Driver(tmp_path, f"{mode}.yaml").end(seconds=600)
        assert code == 0, errors
        folder = tmp_path / "runs" / mode
        students.append(load_file(folder / "student.safetensors"))
        assert load_file(folder / "parties/party-1/bank.safetensors")["count"] > 0
    one, other = students
    assert all(one[name].equal(other[name]) for name in one)
