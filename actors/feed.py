"""Keeps a bounded number of iterations in flight at every group of parties: the bound is the
back-pressure."""

from collections.abc import Sequence
from typing import Any


class Feed:
    """The parties' images by iteration, as object references, each iteration asked for once.

    `prefetch` iterations beyond the one that is taken are in flight; `iterations` is where the run ends.
    """

    def __init__(self, groups: Sequence[Any], prefetch: int, iterations: int) -> None:
        self._groups = list(groups)
        self._prefetch = prefetch
        self._iterations = iterations
        self._in_flight: dict[int, list[Any]] = {}
        self._requested = 0

    def take(self, iteration: int) -> list[Any]:
        """The calls that give `iteration`, one a group; they must be taken in order."""
        if iteration not in self._in_flight:
            self.request(iteration)
        return self._in_flight.pop(iteration)

    def request(self, iteration: int) -> None:
        """Have `iteration` and the `prefetch` ones after it in flight."""
        stop = min(iteration + self._prefetch + 1, self._iterations)
        for ahead in range(self._requested, stop):
            self._in_flight[ahead] = [group.step.remote(ahead) for group in self._groups]
        self._requested = max(self._requested, stop)
