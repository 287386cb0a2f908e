"""What is kept of a run on Ray, also when it is stopped or hit at a bad moment."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from ray.exceptions import RayActorError, RayError

from fusion.epoch import EpochReport
from orchestrator import main_phase
from orchestrator.crew import Crew, StudentLost
from orchestrator.engines import Job
from orchestrator.group_phase import GroupPhase
from orchestrator.keeper import Keeper
from orchestrator.main_phase import MainPhase
from orchestrator.snapshot import FRESH
from orchestrator.stopping import Stopping
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


def offered(iterations: int, *parties: str) -> dict[str, Any]:
    """What a student gives away: its part, and the calls for the parties'."""
    state = {"iterations": iterations, "state": {}, "records": []}
    return {"student": state, "parties": {(index,): one for index, one in enumerate(parties)}}


class Calls:
    """The results of calls, which are at hand; of some there is none, since their actor was lost."""

    def __init__(self, lost: tuple[str, ...] = ()) -> None:
        self._lost = lost

    def wait(self, calls: Any, *_: Any) -> Any:
        """See `Crew`, whose watch ends a wait for somebody frozen; nobody else may wait."""
        if not isinstance(calls, list):
            return calls
        if any(call in self._lost for call in calls):
            raise RayActorError
        return [{} for _ in calls]


def looking(
    offers: list[Any], monkeypatch: pytest.MonkeyPatch, lost: tuple[str, ...] = ()
) -> tuple[MainPhase, Job]:
    def get(call: Any) -> Any:
        assert isinstance(call, dict), "waited for without the watch"
        return call

    monkeypatch.setattr(main_phase, "ray", SimpleNamespace(get=get, wait=lambda calls, **_: (calls, [])))
    status = {"done": 1, "offered": 1, "lost": {}}
    student = SimpleNamespace(
        status=Mock(remote=Mock(return_value=status)), offer=Mock(remote=Mock(side_effect=offers))
    )
    crew: Any = SimpleNamespace(student=student, wait=Calls(lost).wait)
    todo = job()
    return MainPhase(crew, todo, Mock()), todo


def test_an_offer_that_is_ahead_of_the_journal_is_kept_when_its_epoch_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between what the student says of itself and what it gives, an epoch may be over."""
    phase, todo = looking([offered(LENGTH + 1), None, None], monkeypatch)
    phase._look()
    assert todo.keeper.newest() is FRESH
    phase._record(report(), WEIGHTS, LENGTH)
    phase._look()
    assert todo.keeper.newest().iterations == LENGTH + 1


def test_a_student_that_was_started_again_has_nothing_to_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    phase, todo = looking([None], monkeypatch)
    phase._look()
    assert todo.keeper.newest() is FRESH


def test_an_offer_whose_party_is_lost_is_left_out_and_the_next_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phase, todo = looking([offered(0, "lost"), offered(1, "there")], monkeypatch, lost=("lost",))
    phase._look()
    assert todo.keeper.newest() is FRESH
    phase._look()
    assert todo.keeper.newest().iterations == 1


def test_epochs_that_nobody_has_to_wait_for_are_looked_at_too() -> None:
    schedule = settings().schedule
    crew = Mock(wait=lambda call, *_: call, groups={}, sessions={})
    crew.student.snapshot.remote.return_value = offered(schedule.iterations)["student"]
    crew.student.train_epoch.remote = lambda epoch: EpochReport(
        epoch=epoch, metrics={}, accuracy=None, samples={}
    )
    crew.student.weights.remote.return_value = {"student": {}, "vids": {}}
    phase: Any = MainPhase(crew, job(), Mock())
    phase._look = Mock()
    phase.run(FRESH)
    assert phase._look.call_count == schedule.epochs > 1


def test_whoever_waits_for_an_actor_stops_when_the_process_is_asked_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sweep's trial hears no signal."""
    stopping = Stopping()
    crew: Any = Crew.__new__(Crew)
    crew._job, crew.watch = SimpleNamespace(stopping=stopping), Mock()

    def wait(calls: Any, **_: Any) -> Any:
        stopping.request()
        return [], calls

    monkeypatch.setattr("orchestrator.crew.ray.wait", wait)
    for waiting in (crew.wait, lambda call: crew.first([call])):
        stopping.signal = None
        with pytest.raises(KeyboardInterrupt):
            waiting("call")
    with pytest.raises(KeyboardInterrupt):
        crew.over("call")


class WorkerHealthCheckTimeoutError(Exception):
    """What Ray Train calls a worker that does not answer."""


@pytest.mark.parametrize(
    ("failure", "why"),
    [(WorkerHealthCheckTimeoutError(), "did not answer"), (RayActorError(), "died")],
    ids=["frozen", "dead"],
)
def test_a_worker_of_the_student_that_is_no_more_has_all_begin_again(
    failure: Exception, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RayError("Ray Train's")
    error.cause = SimpleNamespace(worker_failures={1: failure})  # type: ignore[attr-defined]
    monkeypatch.setattr("orchestrator.group_phase.ray.get", Mock(side_effect=error))
    phase = GroupPhase(Mock(), Mock(), Mock(), [], job(), Mock())
    with pytest.raises(StudentLost, match=f"^{why}$"):
        phase._end("running")
