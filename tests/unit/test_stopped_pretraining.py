"""A run in a process that has others is asked to stop while its classifiers are trained."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator import fuse, schooling
from orchestrator.errors import Interrupted
from orchestrator.stopping import Stopping
from orchestrator.surroundings import Surroundings, open_engine
from tests.tiny import tiny_run


def test_it_stops_with_the_classifiers_it_has_and_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, write, quiet = Stopping(), schooling.write_teacher, Console(quiet=True)

    def written(*given: Any) -> Any:
        stopping.request()
        return write(*given)

    monkeypatch.setattr(schooling, "write_teacher", written)
    around = Surroundings(engine=open_engine, tags={}, reported=lambda *_: None, stopping=stopping)
    config = tiny_run(engine={"mode": "local"}, output=str(tmp_path), name="stopped")
    with pytest.raises(Interrupted, match="--resume"):
        fuse(config, console=quiet, surroundings=around)
    teachers = tmp_path / "stopped" / "teachers"
    first = {path: path.stat().st_mtime_ns for path in teachers.glob("*.safetensors")}
    assert [path.stem for path in first] == ["party-0"]

    monkeypatch.setattr(schooling, "write_teacher", write)
    fuse(resume=tmp_path / "stopped", console=quiet)
    after = {path: path.stat().st_mtime_ns for path in teachers.glob("*.safetensors")}
    assert sorted(path.stem for path in after) == ["gold-standard", "party-0", "party-1"]
    assert first.items() <= after.items()
