"""What is kept of a run on Ray that is stopped at a bad moment."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from fusion.epoch import EpochReport
from orchestrator import main_phase
from orchestrator.engines import Job
from orchestrator.group_phase import GroupPhase
from orchestrator.keeper import Keeper
from orchestrator.main_phase import MainPhase
from orchestrator.snapshot import FRESH
from tests.tiny import settings, teacher

LENGTH = settings().schedule.iterations_per_epoch
WEIGHTS = {"student": {"w": np.zeros(1, np.float32)}}


def interrupted() -> Mock:
    """An observer that Ctrl-C reaches before it has written anything."""
    return Mock(epoch=Mock(side_effect=[KeyboardInterrupt, None]))


def report() -> EpochReport:
    return EpochReport(epoch=0, metrics={}, accuracy=None, samples={})


def job() -> Job:
    return Job(teachers=[teacher(0)], settings=settings(), evaluation=None, keeper=Keeper())


def test_no_checkpoint_is_kept_of_an_epoch_that_is_not_in_the_journal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = {"iterations": LENGTH, "state": WEIGHTS["student"], "records": []}
    call = Mock(remote=Mock(return_value=state))
    monkeypatch.setattr(main_phase, "ray", SimpleNamespace(get=lambda one, timeout: one))
    crew: Any = SimpleNamespace(student=SimpleNamespace(halt=call, snapshot=call))
    todo = job()
    phase = MainPhase(crew, todo, interrupted())
    with pytest.raises(KeyboardInterrupt):
        phase._record(report(), WEIGHTS, LENGTH)
    phase._halt()
    assert todo.keeper.newest() is FRESH
    phase._record(report(), WEIGHTS, LENGTH)
    phase._halt()
    assert todo.keeper.newest().iterations == LENGTH


def test_an_epoch_that_was_not_written_is_told_again_by_the_next_workers() -> None:
    observer = interrupted()
    phase = GroupPhase(Mock(), Mock(), Mock(), [], job(), observer)
    with pytest.raises(KeyboardInterrupt):
        phase._record(report(), WEIGHTS)
    for _ in range(2):
        phase._record(report(), WEIGHTS)
    assert observer.epoch.call_count == 2
