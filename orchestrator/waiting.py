"""Waiting for actors, and what is said when one is lost."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from actors.repairs import LOST
from fusion.health import Diverged

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


class Watch:
    """Looks after actors that Ray takes for alive: one that does not answer, or is at work and gets nowhere,
    is
    killed, whereupon Ray starts it again.

    Ray itself notices when a process dies, but not when it is frozen.
    """

    def __init__(
        self,
        actors: Mapping[str, Any],
        silent_seconds: float,
        stuck_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self._actors = dict(actors)
        self._limits = (silent_seconds, stuck_seconds)
        self._say = say
        now = time.monotonic()
        self._answered = dict.fromkeys(actors, now)
        self._moved = dict.fromkeys(actors, now)
        self._progress: dict[str, object] = {}
        self._asked: dict[str, Any] = {}
        self._next = now

    def look(self) -> None:
        """To be called now and then."""
        now = time.monotonic()
        for name, call in list(self._asked.items()):
            if ray.wait([call], timeout=0)[0]:
                del self._asked[name]
                self._hear(name, call, now)
        if now >= self._next:
            self._next = now + PULSE_SECONDS
            for name in self._actors.keys() - self._asked.keys():
                self._asked[name] = self._actors[name].pulse.remote()
        for name in self._actors:
            silent, stuck = now - self._answered[name], now - self._moved[name]
            if silent > self._limits[0] or stuck > self._limits[1]:
                how = f"silent for {silent:.0f} s" if silent > self._limits[0] else f"stuck for {stuck:.0f} s"
                self._say(f"{name} was {how}; it is killed and started again")
                self._forget(name, now)
                ray.kill(self._actors[name], no_restart=False)

    def _hear(self, name: str, call: Any, now: float) -> None:
        self._answered[name] = now
        try:
            progress, busy = ray.get(call)
        except LOST:
            return self._forget(name, now)  # Whoever calls it notices.
        if not busy or progress != self._progress.get(name):
            self._moved[name] = now
            self._progress[name] = progress
        return None

    def _forget(self, name: str, now: float) -> None:
        """The actor is a new one."""
        self._asked.pop(name, None)
        self._progress.pop(name, None)
        self._answered[name] = self._moved[name] = now


def _describe(error: RayError) -> str:
    """Who failed and of what, in one line; the whole story is in the exception's cause."""
    text = str(error)
    who = next((name for kind, name in ACTORS.items() if kind in text), "an actor")
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{who} failed: {type(cause).__name__}: {lines[-1] if lines else ''}"
