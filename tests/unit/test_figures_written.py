"""Figures and their numbers are written like everything else: a file is whole, or the one from before."""

import os
from pathlib import Path

import pytest

from orchestrator.comparison.drawing import write_figures
from orchestrator.errors import UserError


def test_a_disk_that_fills_up_leaves_the_files_from_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_figures(tmp_path, [], {"table": "before\n"})

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=f"^--to: cannot write to {tmp_path}: No space left on device$"):
        write_figures(tmp_path, [], {"table": "afterwards\n"})
    assert (tmp_path / "table.csv").read_text() == "before\n"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
