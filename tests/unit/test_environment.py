"""What a run says of where it was made."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.environment import ENVIRONMENT, environment, moved


def written(folder: Path, **changes: Any) -> Path:
    (folder / ENVIRONMENT).write_text(json.dumps({**environment(), **changes}))
    return folder


def test_a_run_that_stays_where_it_was_has_not_moved(tmp_path: Path) -> None:
    assert moved(written(tmp_path, git_commit="another", platform="another", cpus=999)) == []


def test_what_rounds_otherwise_is_named(tmp_path: Path) -> None:
    here = environment()
    packages = {**here["packages"], "torch": "1.0"}
    folder = written(tmp_path, processor="Another One\x1b[2J", packages=packages)
    assert moved(folder) == [
        f"processor: Another One\\x1b[2J at the start, {here['processor']} now",
        f"torch: 1.0 at the start, {here['packages']['torch']} now",
    ]
    (name,) = moved(written(tmp_path, gpus=[*here["gpus"], "One More"]))
    assert name.startswith("GPUs: ")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"processor": "a", "gpus": 3}', b"\xff", b"[" * 100_000]
)
def test_a_damaged_file_says_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / ENVIRONMENT).write_bytes(content)
    assert moved(tmp_path) == []
    (tmp_path / ENVIRONMENT).unlink()
    assert moved(tmp_path) == []
