"""Iterations in flight at the parties, with fake actors: what is asked for, in which order, and how far
ahead."""

from typing import Any

import numpy as np
import pytest

import actors.feed
from actors import interval
from actors.feed import Feed
from actors.interval import Interval


class Remote:
    """A method of an actor: notes the call and gives a reference."""

    def __init__(self, log: list[tuple[Any, ...]], name: str) -> None:
        self._log, self._name = log, name

    def remote(self, *arguments: Any) -> str:
        self._log.append((self._name, *arguments))
        return f"{self._name}{arguments} #{len(self._log)}"


class Group:
    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Remote:
        return Remote(self.log, name)


def feed(
    prefetch: int, first: int = 0, every: int | None = None, lag: int | None = None
) -> tuple[Feed, Group, Group]:
    groups = {(0, 1): Group(), (2,): Group()}
    made = Feed(groups, {(0, 1): 7, (2,): 8}, prefetch, first, 10, Interval(iterations=every), lag)
    return made, *groups.values()


def student(done: int) -> dict[str, np.ndarray]:
    return {"weight": np.array(done)}


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What was put into an object store that is not there; a reference names the student's iterations."""
    puts: list[int] = []

    def put(state: dict[str, np.ndarray]) -> str:
        puts.append(int(state["weight"]))
        return f"student {puts[-1]}"

    monkeypatch.setattr(actors.feed.ray, "put", put)
    return puts


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_each_iteration_is_asked_for_once_in_order_and_never_too_far_ahead(prefetch: int) -> None:
    made, one, other = feed(prefetch)
    assert one.log == [("replay", 7, 0)]
    for iteration in range(10):
        made.request(iteration)
        made.request(iteration)
        asked = [call[2] for call in one.log if call[0] == "step"]
        assert asked == list(range(min(iteration + prefetch + 1, 10)))
        calls = made.calls(iteration)
        assert calls.keys() == {(0, 1), (2,)}
        assert calls[0, 1].startswith(f"step(7, {iteration})")
        made.taken(iteration)
    assert other.log == [("replay", 8, 0), *(("step", 8, iteration) for iteration in range(10))]
    assert one.log == [("replay", 7, 0), *(("step", 7, iteration) for iteration in range(10))]
    with pytest.raises(KeyError):
        made.calls(3)


def test_a_feed_that_begins_later_has_the_parties_catch_up_first() -> None:
    made, one, _ = feed(1, first=4)
    made.calls(4)
    assert one.log == [("replay", 7, 4), ("step", 7, 4), ("step", 7, 5)]


def test_a_snapshot_is_asked_for_before_the_step_of_its_iteration_and_not_at_the_first() -> None:
    made, one, other = feed(2, first=4, every=2)
    for iteration in range(4, 8):
        made.calls(iteration)
        made.taken(iteration)
    steps = [("step", 7, iteration) for iteration in range(4, 10)]
    assert one.log == [
        ("replay", 7, 4),
        *steps[:2],
        ("snapshot", 7),
        *steps[2:4],
        ("snapshot", 7),
        *steps[4:],
    ]
    assert list(made.snapshots) == [6, 8]
    assert all(calls.keys() == {(0, 1), (2,)} for calls in made.snapshots.values())
    assert [call[0] for call in other.log] == [call[0] for call in one.log]


def test_a_restored_group_is_asked_again_for_exactly_what_was_not_taken() -> None:
    made, one, other = feed(2, every=3)
    for iteration in range(3):
        made.calls(iteration)
        made.taken(iteration)
    made.calls(3)
    before, known, snapshot = list(other.log), made.calls(4), made.snapshots[3]
    old = dict(snapshot)
    one.log.clear()
    made.again((0, 1), 9)
    assert one.log == [("replay", 9, 3), ("snapshot", 9), *(("step", 9, ahead) for ahead in (3, 4, 5))]
    assert other.log == before
    assert (made.session((0, 1)), made.session((2,))) == (9, 8)
    assert known[0, 1].startswith("step(9, 4)")
    assert known[2,].startswith("step(8, 4)")
    assert snapshot[0, 1] != old[0, 1]
    assert snapshot[2,] == old[2,]
    made.taken(3)
    made.request(4)
    assert one.log[-2:] == [("snapshot", 9), ("step", 9, 6)]


def test_a_group_that_is_lost_while_nothing_is_in_flight_goes_on_where_the_next_request_will_be() -> None:
    made, one, _ = feed(0)
    made.calls(0)
    made.taken(0)
    one.log.clear()
    made.again((0, 1), 9)
    made.calls(1)
    assert one.log == [("replay", 9, 1), ("step", 9, 1)]


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_an_iteration_is_asked_for_when_its_critic_is_learnt_and_not_before(
    lag: int, stored: list[int]
) -> None:
    made, one, other = feed(prefetch=5, lag=lag)
    for done in range(10):
        made.learnt(done, student(done))
        made.learnt(done, student(done))
        made.request(done)
        made.request(done + 1)  # Wished for early: there is no critic yet.
        asked = [call[2:] for call in one.log if call[0] == "step"]
        assert asked == [
            (iteration, f"student {max(0, iteration - lag)}") for iteration in range(min(done + lag + 1, 10))
        ]
        assert not made.settled()
        made.taken(done)
    assert one.log[1:] == [("step", 7, *call[2:]) for call in other.log[1:]]
    assert made.settled()
    assert stored == list(range(10))  # Once for all parties.


def test_a_feed_that_begins_later_is_told_the_older_critics(stored: list[int]) -> None:
    made, one, _ = feed(1, first=4, lag=2)
    for done in (2, 3, 4):
        made.learnt(done, student(done))
    made.request(4)
    assert one.log == [
        ("replay", 7, 4),
        *(("step", 7, iteration, f"student {iteration - 2}") for iteration in (4, 5, 6)),
    ]


def test_with_a_lag_too_the_snapshot_comes_before_the_step_of_its_iteration(stored: list[int]) -> None:
    made, one, _ = feed(0, every=2, lag=1)
    made.learnt(0, student(0))
    made.request(0)
    made.taken(0)
    made.learnt(1, student(1))
    made.request(1)
    steps = [("step", 7, 0, "student 0"), ("step", 7, 1, "student 0"), ("step", 7, 2, "student 1")]
    assert one.log == [("replay", 7, 0), *steps[:2], ("snapshot", 7), steps[2]]
    assert list(made.snapshots) == [2]


def test_without_a_lag_the_student_may_stop_at_any_time() -> None:
    made, _, _ = feed(2)
    made.request(0)
    assert made.settled()


def test_an_interval_is_due_by_count_by_time_or_by_either(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(interval.time, "monotonic", lambda: clock[0])
    never, count, both = Interval(), Interval(iterations=3), Interval(iterations=3, seconds=10)
    assert [number for number in range(1, 8) if never.due(number)] == []
    assert [number for number in range(1, 8) if count.due(number)] == [3, 6]
    # Whoever asks at the end of epochs only has one for every epoch in which one was due.
    epochs = range(400, 2001, 400)
    assert [done for done in epochs if Interval(iterations=401).due(done, 400)] == [800, 1200, 1600, 2000]
    assert [done for done in epochs if Interval(iterations=250).due(done, 400)] == list(epochs)
    assert [done for done in epochs if Interval(iterations=800).due(done, 400)] == [800, 1600]
    assert not both.due(1)
    clock[0] += 6
    assert both.due(3)  # The clock starts anew.
    clock[0] += 6
    assert not both.due(4)
    clock[0] += 4
    assert both.due(5)
    assert not both.due(5)
