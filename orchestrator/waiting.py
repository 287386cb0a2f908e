"""Waiting for actors, and what is said when one is lost."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from actors.repairs import LOST
from fusion.health import Diverged
from orchestrator.sections import EngineSettings
from orchestrator.tracking import first_line

POLL_SECONDS = 0.5
PULSE_SECONDS = 2.0
ACTORS = {
    "PartyWorker": "a party",
    "PartyActor": "a party",
    "StudentWorker": "the student",
    "StudentActor": "the student",
    "Pretraining": "a pretraining",
}


class ActorLost(RuntimeError):
    """A party or the student failed for good; the last checkpoint is what can be gone on from."""


def get(calls: Any) -> Any:
    """ray.get, with one error for whatever befalls an actor.

    Raises:
        ActorLost: it raised or died.
        Diverged: its numbers are no good.
    """
    try:
        return ray.get(calls)
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else None
        if isinstance(cause, Diverged):
            raise cause from error
        raise ActorLost(_describe(error)) from error


class Restarts:
    """How often each actor has been started again."""

    def __init__(self, settings: EngineSettings, say: Callable[[str], None]) -> None:
        self._most, self._say = settings.restarts, say
        self._counts: Counter[str] = Counter()

    def note(self, name: str, why: str) -> None:
        """Count and say that an actor is started again.

        Raises:
            ActorLost: too often.
        """
        self._counts[name] += 1
        if self._counts[name] > self._most:
            raise ActorLost(f"{name} failed: {why}; it was restarted {self._most} times (engine.restarts)")
        self._say(f"{name} failed: {why}; restart {self._counts[name]} of at most {self._most}")


def not_again(name: str, error: Exception) -> ActorLost:
    """Ray will not start an actor again."""
    return ActorLost(f"{name} cannot be started again: {first_line(error)}")


def never_came(name: str, settings: EngineSettings) -> ActorLost:
    """A lost actor was waited for long enough."""
    seconds = f"{settings.wait_seconds:.0f} s (engine.wait_seconds)"
    return ActorLost(f"{name} could not be started again within {seconds}")


class Watch:
    """Looks after actors that Ray takes for alive: one that does not answer, or is at work and gets nowhere,
    is killed, whereupon Ray starts it again.

    Ray itself notices when a process dies, but not when it is frozen.
    """

    def __init__(
        self, actors: Mapping[str, Any], settings: EngineSettings, say: Callable[[str], None]
    ) -> None:
        self._actors = dict(actors)
        self._start = max(settings.wait_seconds, settings.silent_seconds)
        self._silent, self._stuck = settings.silent_seconds, settings.stuck_seconds
        self._say = say
        self._alive: set[str] = set()
        self._progress: dict[str, tuple[object, float]] = {}
        self._asked: dict[str, tuple[Any, float]] = {}
        self._next = time.monotonic()

    def heard(self, name: str) -> Any:
        """How far an actor said last that it was; None: nothing since it was started."""
        return self._progress.get(name, (None, 0.0))[0]

    def also(self, name: str, actor: Any) -> None:
        """Look after one more, or another under that name; what Ray does not start again is only killed."""
        self.forget(name)
        self._actors[name] = actor

    def no_longer(self, name: str) -> None:
        """An actor has ended as it should."""
        self.forget(name)
        self._actors.pop(name, None)

    def forget(self, name: str) -> None:
        """An actor is lost, and is being started again."""
        for known in (self._asked, self._progress):
            known.pop(name, None)
        self._alive.discard(name)

    def look(self) -> None:
        """To be called now and then; how often does not matter."""
        now = time.monotonic()
        for name, (call, since) in list(self._asked.items()):
            if ray.wait([call], timeout=0)[0]:
                del self._asked[name]
                self._hear(name, call, now)
            elif now - since > (self._silent if name in self._alive else self._start):
                self._kill(name, f"silent for {now - since:.0f} s")
        if now >= self._next:
            self._next = now + PULSE_SECONDS
            for name in self._actors.keys() - self._asked.keys():
                self._asked[name] = self._actors[name].pulse.remote(), now

    def _hear(self, name: str, call: Any, now: float) -> None:
        try:
            progress, busy = ray.get(call)
        except LOST:  # Whoever calls it notices.
            self.forget(name)
            return
        self._alive.add(name)
        before, since = self._progress.get(name, (None, now))
        if not busy or progress != before:
            self._progress[name] = progress, now
        elif now - since > self._stuck:
            self._kill(name, f"stuck for {now - since:.0f} s")

    def _kill(self, name: str, how: str) -> None:
        self._say(f"{name} was {how}; it is killed and started again")
        self.forget(name)
        ray.kill(self._actors[name], no_restart=False)


def _describe(error: RayError) -> str:
    """Who failed and of what, in one line; the whole story is in the exception's cause."""
    text = str(error)
    who = next((name for kind, name in ACTORS.items() if kind in text), "an actor")
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{who} failed: {type(cause).__name__}: {lines[-1] if lines else ''}"
