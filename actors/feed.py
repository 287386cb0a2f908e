"""Keeps a bounded number of iterations in flight at every group of parties: the bound is the
back-pressure."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import ray

from actors.interval import Interval
from actors.process import Arrays

Members: TypeAlias = tuple[int, ...]
"""The parties that live in one actor, by index."""
Calls: TypeAlias = dict[Members, Any]


class Source(Protocol):
    """Where the student finds the parties' images: `Feed` with repairs, or one that several processes
    share."""

    def request(self, iteration: int) -> None:
        """Have `iteration` and the ones after it in flight, as far as the run prefetches."""

    def learnt(self, done: int, student: Arrays) -> None:
        """The student's network after `done` iterations, where it is the parties' critic; to be said before
        what it judges is requested."""

    def calls(self, iteration: int) -> Calls:
        """The calls that give `iteration`; they are there until it is `taken`."""

    def taken(self, iteration: int) -> None:
        """`iteration` has arrived."""

    def session(self, members: Members) -> int:
        """In which session a group of parties is."""

    def lost(self, members: Members, error: Exception) -> None:
        """A group does not answer; when this returns, it is in another session and `calls` has new ones."""


class Feed:
    """The parties' images by iteration, as object references, each iteration asked for once.

    `prefetch` iterations beyond the one that is wanted are in flight; the first is `first`, and `iterations`
    is where the run ends. Each group must have begun its session of `sessions` (`PartyWorker.begin`), at
    `first` or before it.

    With a `lag` (`Method.lag`) iteration i is judged by the student that has had max(0, i - `lag`), and asked
    for when there is one (`learnt`); `prefetch` is then nothing, and groups must have begun at `first`.
    """

    def __init__(
        self,
        groups: Mapping[Members, Any],
        sessions: Mapping[Members, int],
        prefetch: int,
        first: int,
        iterations: int,
        interval: Interval,
        lag: int | None = None,
    ) -> None:
        self._sessions = dict(sessions)
        self.snapshots: dict[int, Calls] = {}
        """The parties' states before an iteration, where one was due."""
        self._groups = dict(groups)
        self._prefetch = prefetch
        self._iterations = iterations
        self._interval = interval
        self._lag = lag
        self._critics: dict[int, Any] = {}
        self._in_flight: dict[int, Calls] = {}
        self._first = self._requested = first
        for members, group in groups.items():
            group.replay.remote(sessions[members], first)  # Nothing to do, unless it is behind.

    def session(self, members: Members) -> int:
        """See `Source`."""
        return self._sessions[members]

    def calls(self, iteration: int) -> Calls:
        """See `Source`."""
        if iteration not in self._in_flight:
            self.request(iteration)
        return self._in_flight[iteration]

    def taken(self, iteration: int) -> None:
        """See `Source`."""
        del self._in_flight[iteration]

    def learnt(self, done: int, student: Arrays) -> None:
        """See `Source`; saying it again changes nothing."""
        assert self._lag is not None
        if done not in self._critics:
            self._critics[done] = ray.put(student)  # One object for all parties.
            self._critics = {one: state for one, state in self._critics.items() if one >= done - self._lag}

    def request(self, iteration: int) -> None:
        """See `Source`."""
        last = iteration + self._prefetch if self._lag is None else max(self._critics) + self._lag
        stop = min(last + 1, self._iterations)
        for ahead in range(self._requested, stop):
            if ahead > self._first and self._interval.due(ahead):
                self.snapshots[ahead] = {}
            self._in_flight[ahead] = {}
            for members in self._groups:
                self._ask(members, ahead)
        self._requested = max(self._requested, stop)

    def settled(self) -> bool:
        """Whether the student may stop here: the parties are as far as it is, or can be brought there without
        it."""
        return self._lag is None or not self._in_flight

    def again(self, members: Members, session: int) -> None:
        """A group was restored to some state of before, in a new session: have it catch up, then ask for
        everything again that has not been taken."""
        self._sessions[members] = session
        wanted = sorted(self._in_flight)
        self._groups[members].replay.remote(session, wanted[0] if wanted else self._requested)
        for ahead in wanted:
            self._ask(members, ahead)

    def _ask(self, members: Members, iteration: int) -> None:
        group, session = self._groups[members], self._sessions[members]
        if iteration in self.snapshots:  # A group's calls run in the order in which they are made.
            self.snapshots[iteration][members] = group.snapshot.remote(session)
        critic = [] if self._lag is None else [self._critics[max(0, iteration - self._lag)]]
        self._in_flight[iteration][members] = group.step.remote(session, iteration, *critic)
