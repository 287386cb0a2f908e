"""From where a fusion on Ray begins again when somebody is lost, and what of it is told."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from orchestrator import distributed
from orchestrator.crew import STUDENT, GoBack, StudentLost
from orchestrator.distributed import RayEngine
from orchestrator.engines import Job
from orchestrator.keeper import Keeper
from orchestrator.snapshot import Snapshot
from tests.tiny import settings


class Phase:
    """A main phase in which first the student is lost, then a party whose critic it is."""

    def __init__(self) -> None:
        self.starts: list[Snapshot] = []
        self._losses: Iterator[Exception] = iter([StudentLost("died"), GoBack("all go back")])

    def run(self, start: Snapshot) -> str:
        self.starts.append(start)
        for loss in self._losses:
            raise loss
        return "fused"


def test_whoever_is_lost_all_begin_from_the_newest_snapshot_and_the_warm_up_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warm_ups: list[bool] = []
    monkeypatch.setattr(distributed, "WarmUp", lambda *_: Mock(run=warm_ups.append))
    engine, crew, observer, phase = RayEngine(Mock(), Mock(), Mock()), Mock(), Mock(), Phase()
    todo = Job(teachers=[], settings=settings(), evaluation=None, keeper=Keeper())
    chosen: Any = phase
    assert engine._run(crew, chosen, todo, observer) == "fused"  # type: ignore[comparison-overlap]
    # The newest snapshot is none at all, as before the first: the very object that the run began from.
    assert phase.starts == [todo.start] * 3
    assert [call.args for call in crew.begin_groups.call_args_list] == [(todo.start,)] * 3
    assert warm_ups == [False, True, True]
    crew.restarts.note.assert_called_once_with(STUDENT, "died")
    observer.said.assert_called_once_with("all go back")
