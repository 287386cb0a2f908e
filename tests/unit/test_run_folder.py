"""A run's folder is new, or nothing was ever written into it."""

from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.run_folder import make_run_folder


def test_a_start_that_was_killed_before_it_wrote_anything_is_no_run(tmp_path: Path) -> None:
    folder = make_run_folder(str(tmp_path), "one", "unused")
    assert make_run_folder(str(tmp_path), "one", "unused") == folder
    (folder / ".lock").write_text("process 1 on a machine that was switched off\n")
    assert make_run_folder(str(tmp_path), "one", "unused") == folder
    (folder / "config.yaml").write_text("")
    with pytest.raises(UserError, match="already holds a run; give another name or remove it"):
        make_run_folder(str(tmp_path), "one", "unused")


def test_an_output_that_is_no_folder_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for output, words in (
        ("file", "file is a file, no folder"),
        ("file/a", "Not a directory"),
        ("a\0b", "null"),
    ):
        with pytest.raises(UserError, match=f"^output: .*{words}"):
            make_run_folder(f"{tmp_path}/{output}", "one", "unused")
