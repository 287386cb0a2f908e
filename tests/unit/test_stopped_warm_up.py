"""A warm-up that is stopped, on Ray and in one process: what is kept, and going on to the same bits."""

import dataclasses
import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from actors.party import PartyWorker, Stale
from fusion.assembly import student_spec
from fusion.party import Party
from orchestrator import warm_up
from orchestrator.conversion import to_party_state
from orchestrator.engines import Job
from orchestrator.keeper import Keeper
from orchestrator.local import LocalEngine
from orchestrator.snapshot import FRESH, Snapshot
from orchestrator.stopping import Stopping
from orchestrator.warm_up import WarmUp
from tests.tiny import settings, teacher

SCHEDULE = dataclasses.replace(settings().schedule, warmup_epochs=2, iterations_per_epoch=3, epochs=1)
SETTINGS = settings(schedule=SCHEDULE)
TEACHERS = [teacher(0), teacher(1)]
Told = tuple[dict[str, torch.Tensor], dict[str, float]]
"""What a fusion leaves of its parties, and the loss terms of its warm-up."""
Hook = Callable[[int, Callable[[], object]], None]


@pytest.fixture
def at_update(monkeypatch: pytest.MonkeyPatch) -> Hook:
    """Has something happen during the n-th update of the warm-up from now on."""
    original = Party.warm_up_step

    def hook(number: int, harm: Callable[[], object]) -> None:
        left = [number]

        def step(party: Party, number: int) -> None:
            original(party, number)
            left[0] -= 1
            if left[0] == 0:
                harm()

        monkeypatch.setattr(Party, "warm_up_step", step)

    return hook


def job(start: Snapshot = FRESH, **changes: Any) -> Job:
    chosen = {"settings": SETTINGS, "evaluation": None, "keeper": Keeper(), **changes}
    return Job(teachers=TEACHERS, start=start, **chosen)


def locally(todo: Job) -> Told:
    observer = Mock()
    fused = LocalEngine(threads=1).fuse(todo, observer)
    roles = {
        f"{index}/{role}": one for index, roles in enumerate(fused.parties) for role, one in roles.items()
    }
    tensors = {f"{role}/{name}": value for role, state in roles.items() for name, value in state.items()}
    return tensors, observer.epoch.call_args_list[0].args[0].metrics


@functools.cache
def undisturbed() -> Told:
    return locally(job())


def assert_undisturbed(mine: Told) -> None:
    expected, terms = undisturbed()
    assert [name for name, value in expected.items() if not torch.equal(value, mine[0][name])] == []
    assert mine[1] == terms


def warmed(start: Snapshot) -> list[int]:
    return [start.parties[index].warmup_steps if index in start.parties else 0 for index in range(2)]


@pytest.mark.parametrize(("update", "left"), [(1, [1, 0]), (3, [3, 0]), (5, [5, 0]), (11, [6, 5])])
def test_in_one_process_it_stops_after_the_update_in_work(
    update: int, left: list[int], at_update: Hook
) -> None:
    todo = job(stopping=Stopping())
    at_update(update, todo.stopping.request)
    with pytest.raises(KeyboardInterrupt):
        LocalEngine(threads=1).fuse(todo, Mock())
    start = todo.keeper.newest()
    assert (warmed(start), start.student) == (left, None)
    assert_undisturbed(locally(job(start)))


class Call:
    """What an actor gave, told apart from all else that it gave."""

    def __init__(self, value: Any) -> None:
        self.value = value


def got(calls: Any) -> Any:
    return [one.value for one in calls] if isinstance(calls, list) else calls.value


def remote(method: Callable[..., Any]) -> SimpleNamespace:
    return SimpleNamespace(remote=lambda *given: Call(method(*given)))


def crew_of(groups: Any, start: Snapshot, workers: list[PartyWorker]) -> Any:
    """Actors in this process, which do at once what they are asked for."""
    handles = {}
    for members in groups:
        worker = PartyWorker("cpu", 1)
        states = {one: to_party_state(start.parties[one]) for one in members if one in start.parties}
        teachers = {index: TEACHERS[index] for index in members}
        worker.begin(1, teachers, len(TEACHERS), SETTINGS, states, student_spec(TEACHERS))
        workers.append(worker)
        handles[members] = SimpleNamespace(
            **{name: remote(getattr(worker, name)) for name in ("warm_up", "snapshot", "sample", "halt")}
        )
    return SimpleNamespace(
        groups=handles, sessions=dict.fromkeys(groups, 1), wait=got, first=lambda calls: calls
    )


@pytest.mark.parametrize("groups", [((0, 1),), ((0,), (1,))], ids=["one actor", "two actors"])
@pytest.mark.parametrize("update", [1, 3, 4, 8, 11])
def test_on_ray_parties_stop_after_the_update_in_work_and_any_engine_goes_on(
    groups: Any, update: int, at_update: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_up, "ray", SimpleNamespace(get=got, wait=lambda calls, **_: (calls, [])))
    todo, workers, stopped = job(), list[PartyWorker](), Mock(advanced=Mock(side_effect=KeyboardInterrupt))
    at_update(update, lambda: [worker.halt() for worker in workers])
    with pytest.raises(KeyboardInterrupt):
        WarmUp(crew_of(groups, FRESH, workers), todo, stopped, FRESH).run(again=False)
    start = todo.keeper.newest()
    assert sum(warmed(start)) >= update
    assert min(warmed(start)) < SCHEDULE.warmup_steps
    assert_undisturbed(locally(job(start)))
    again, observer = job(start), Mock()
    WarmUp(crew_of(groups, start, []), again, observer, start).run(again=False)
    assert_undisturbed(locally(job(again.keeper.newest())))
    assert observer.epoch.call_args.args[0].metrics == undisturbed()[1]


def test_a_group_that_does_not_answer_in_time_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        warm_up, "ray", SimpleNamespace(get=got, wait=lambda calls, **_: (calls[1:], calls[:1]))
    )
    todo, stopped = job(), Mock(advanced=Mock(side_effect=KeyboardInterrupt))
    phase = WarmUp(crew_of(((0,), (1,)), FRESH, []), todo, stopped, FRESH)
    with pytest.raises(KeyboardInterrupt):
        phase.run(again=False)
    assert todo.keeper.newest().parties.keys() == {1}


def test_a_party_that_is_lost_while_others_warm_up_catches_up_before_it_is_told_of() -> None:
    """Nothing was asked of it in between, so nobody has noticed."""
    todo, observer, workers = job(), Mock(), list[PartyWorker]()
    groups = ((0,), (1,))
    crew = crew_of(groups, FRESH, workers)
    lost: list[Any] = []

    def sample(session: int) -> Any:
        if not lost:
            lost.append(session)
            raise Stale
        return workers[0].sample(session)

    def restore(members: Any, _why: str, newest: Snapshot) -> None:
        state = {0: to_party_state(newest.parties[0])}
        workers[0].begin(2, {0: TEACHERS[0]}, len(TEACHERS), SETTINGS, state, student_spec(TEACHERS))
        crew.sessions[members] = 2

    def wait(calls: Any) -> Any:
        return calls() if callable(calls) else got(calls)

    crew.groups[(0,)].sample = SimpleNamespace(remote=lambda session: lambda: Call(sample(session)).value)
    crew.restore, crew.wait = restore, wait
    WarmUp(crew, todo, observer, FRESH).run(again=False)
    assert lost == [1]
    (told,) = (call.args[0] for call in observer.epoch.call_args_list)
    assert told.metrics == undisturbed()[1]
    assert told.samples.keys() == {todo.names[0], todo.names[1]}
    assert_undisturbed(locally(job(todo.keeper.newest())))
