"""Where the student, which notices that a party is lost, and the driver, which restores it, meet."""

import threading
from typing import TypeAlias

import ray
from ray.exceptions import ObjectLostError, OutOfMemoryError, RayActorError, WorkerCrashedError

from actors.feed import Members
from actors.party import Stale

LOST = (RayActorError, ObjectLostError, WorkerCrashedError, OutOfMemoryError, Stale)
"""What a call gives whose actor, or whose result, is no more; everything else is a mistake of its own."""

Reasons: TypeAlias = dict[Members, str]


class Halted(Exception):
    """The run is to stop."""


class Repairs:
    """The groups of parties that are lost, until they are mended."""

    def __init__(self, halt: threading.Event) -> None:
        self._halt = halt
        self._condition = threading.Condition()
        self._lost: Reasons = {}
        self._sessions: dict[Members, int] = {}

    def lost(self) -> Reasons:
        """What is waited for, and why."""
        with self._condition:
            return dict(self._lost)

    def wait(self, members: Members, error: Exception) -> int:
        """Say that a group is lost; when it is mended, its new session.

        Raises:
            Halted: the run is to stop.
        """
        with self._condition:
            self._lost[members] = describe(error)
            while members not in self._sessions:
                if self._halt.is_set():
                    raise Halted
                self._condition.wait(timeout=0.2)
            return self._sessions.pop(members)

    def mended(self, members: Members, session: int) -> None:
        """The group is as it was at some time, in a new session."""
        with self._condition:
            self._lost.pop(members, None)
            self._sessions[members] = session
            self._condition.notify_all()


def describe(error: BaseException) -> str:
    """What befell an actor, in a few words."""
    if isinstance(error, Stale):
        return "started again"
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return "died and is being started again"
    if isinstance(error, ray.exceptions.RayActorError):
        return "died"
    if isinstance(error, OutOfMemoryError):
        return "killed by Ray's memory monitor"
    if isinstance(error, ObjectLostError):
        return "its images were lost with their node"
    return type(error).__name__
