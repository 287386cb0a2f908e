"""Waiting for actors, and what is said when one is lost."""

from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError

POLL_SECONDS = 0.5
ACTORS = {
    "PartyWorker": "a party",
    "PartyActor": "a party",
    "StudentWorker": "the student",
    "StudentActor": "the student",
    "Pretraining": "a pretraining",
}


class ActorLost(RuntimeError):
    """A party or the student failed; what the last epoch left is in the run's folder."""


def wait_for(call: Any, meanwhile: Callable[[], None]) -> Any:
    """The result of `call`; `meanwhile` is called while there is none."""
    while not ray.wait([call], timeout=POLL_SECONDS)[0]:
        meanwhile()
    return get(call)


def get(calls: Any) -> Any:
    """ray.get, with one error for whatever befalls an actor."""
    try:
        return ray.get(calls)
    except RayError as error:
        raise ActorLost(_describe(error)) from error


def _describe(error: RayError) -> str:
    """Who failed and of what, in one line; the whole story is in the exception's cause."""
    text = str(error)
    who = next((name for kind, name in ACTORS.items() if kind in text), "an actor")
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{who} failed: {type(cause).__name__}: {lines[-1] if lines else ''}"
