"""Figures and their numbers are written like everything else: a file is whole, or the one from before."""

from pathlib import Path

import pytest

from orchestrator.comparison.drawing import write_figures
from orchestrator.errors import UserError


def test_a_disk_that_fills_up_leaves_the_files_from_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_figures(tmp_path, [], {"table": "before\n"})
    whole = Path.write_bytes

    def half(path: Path, data: bytes) -> int:
        whole(path, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(UserError, match=f"^--to: cannot write to {tmp_path}: No space left on device$"):
        write_figures(tmp_path, [], {"table": "afterwards\n"})
    assert (tmp_path / "table.csv").read_text() == "before\n"
