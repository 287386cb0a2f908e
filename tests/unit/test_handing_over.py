"""Pretraining on Ray: what is handed over and when, and what is begun again; with actors that are none."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from fusion.pretraining import Recipe
from orchestrator import pretraining_phase
from orchestrator.engines import Course, Lesson, Weights
from orchestrator.pretraining_phase import Teaching, pretrain_all
from orchestrator.sections import EngineSettings
from orchestrator.waiting import ActorLost

GONE = ActorUnavailableError("restarting", b"1" * 16)
DEAD = ActorDiedError()
PULSE = (0, False)


def lesson(name: str) -> Any:
    return SimpleNamespace(name=name, network="resnet8", spec=None, train=None)


class Planned:
    """A lesson that is over after so many looks, or fails then."""

    def __init__(self, lesson: Lesson, looks: int, error: Exception | None = None) -> None:
        self.lesson, self.call, self.epochs = lesson, lesson.name, 1
        self._looks, self._error = looks, error
        self.ended = False

    def result(self) -> Weights | None:
        self._looks -= 1
        if self._looks > 0:
            return None
        if self._error is not None:
            raise self._error
        return {}

    def end(self) -> None:
        self.ended = True


def run(
    monkeypatch: pytest.MonkeyPatch, looks: dict[str, int], places: int = 2, **errors: Exception
) -> tuple[list[str], list[Planned], list[tuple[int, int]]]:
    """What happened in which order, all lessons that were begun, and the progress."""
    monkeypatch.setattr(pretraining_phase, "ray", SimpleNamespace(wait=lambda *_, **__: None))
    events: list[str] = []
    begun: list[Planned] = []
    progress: list[tuple[int, int]] = []

    def place(number: int) -> Callable[[Lesson], Any]:
        def begin(lesson: Lesson) -> Any:
            events.append(f"{lesson.name} in {number}")
            begun.append(Planned(lesson, looks[lesson.name], errors.get(lesson.name)))
            return begun[-1]

        return begin

    course = Course(
        lessons=[lesson(name) for name in looks],
        recipe=Recipe(epochs=3),
        seed=0,
        taught=lambda one, _: events.append(f"{one.name} taught"),
        advanced=lambda _, done, total: progress.append((done, total)),
        said=events.append,
    )
    try:
        pretrain_all(course, [place(number) for number in range(places)])
    except ActorLost as error:
        events.append(str(error))
    return events, begun, progress


def test_a_place_has_its_own_lessons_and_waits_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    events, begun, progress = run(monkeypatch, {"a": 5, "b": 1, "c": 1, "d": 1})
    assert events == [
        *("a in 0", "b in 1", "b taught", "d in 1", "d taught"),
        *("a taught", "c in 0", "c taught"),
    ]
    assert all(one.ended for one in begun)
    assert progress == [(4, 12), (7, 12), (7, 12), (7, 12), (9, 12), (12, 12)]


def test_what_is_over_is_handed_over_also_where_another_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    events, begun, _ = run(monkeypatch, {"a": 2, "b": 2, "c": 9}, places=3, a=ActorLost("a failed"))
    assert events == ["a in 0", "b in 1", "c in 2", "b taught", "a failed"]
    assert all(one.ended for one in begun)


def test_more_places_than_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    events, _, progress = run(monkeypatch, {"a": 1}, places=3)
    assert (events, progress) == (["a in 0", "a taught"], [(3, 3)])


class Watched:
    """A `Watch` that hears nothing."""

    def __init__(self, *_: Any) -> None: ...

    def look(self) -> None: ...

    def forget(self, name: str) -> None: ...


def teaching(monkeypatch: pytest.MonkeyPatch, results: list[Any], **settings: Any) -> tuple[Any, list[str]]:
    """One whose calls come to `results`, each a pulse or a lesson; and what is said."""

    def get(_: Any) -> Any:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    said: list[str] = []
    fake = SimpleNamespace(wait=lambda calls, **_: (calls, []), get=get, kill=lambda _: None)
    monkeypatch.setattr(pretraining_phase, "ray", fake)
    monkeypatch.setattr(pretraining_phase, "Watch", Watched)
    actor: Any = SimpleNamespace(
        train=SimpleNamespace(remote=lambda *_: "lesson"), pulse=SimpleNamespace(remote=lambda: "pulse")
    )
    course: Any = SimpleNamespace(recipe=None, seed=0, said=said.append)
    return Teaching(actor, lesson("a"), course, EngineSettings(**settings)), said


def test_a_lesson_that_is_lost_is_begun_again_when_its_actor_is_there_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until then, however often it is asked for, it is one loss."""
    one, said = teaching(monkeypatch, [GONE, GONE, GONE, PULSE, GONE, PULSE, {}])
    calls = []
    while (found := one.result()) is None:
        calls.append(one.call)
    assert found == {}
    assert calls == ["pulse", "pulse", "pulse", "lesson", "pulse", "lesson"]
    assert said == [
        f"the pretraining of a failed: died and is being started again; restart {number} of at most 10"
        for number in (1, 2)
    ]


def test_one_that_is_lost_too_often_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    one, said = teaching(monkeypatch, [GONE, PULSE, GONE, PULSE, GONE], restarts=2)
    for _ in range(4):
        assert one.result() is None
    with pytest.raises(ActorLost, match=r"^the pretraining of a failed: .*restarted 2 times"):
        one.result()
    assert len(said) == 2


def test_one_that_ray_does_not_start_again_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = teaching(monkeypatch, [DEAD, DEAD])
    assert one.result() is None
    with pytest.raises(ActorLost, match=r"^the pretraining of a cannot be started again: "):
        one.result()


def test_one_that_does_not_come_back_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = teaching(monkeypatch, [GONE] * 2, wait_seconds=0.0)
    assert one.result() is None
    with pytest.raises(ActorLost, match=r"could not be started again within 0 s \(engine.wait_seconds\)$"):
        one.result()
