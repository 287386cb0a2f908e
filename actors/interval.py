"""When the next snapshot is due."""

import time


class Interval:
    """Every so many iterations, or seconds, or both; None: not by that."""

    def __init__(self, iterations: int | None = None, seconds: float | None = None) -> None:
        self._iterations = iterations
        self._seconds = seconds
        self._last = time.monotonic()

    def due(self, done: int) -> bool:
        """Whether to take one after `done` iterations; the clock then starts anew."""
        by_count = self._iterations is not None and done % self._iterations == 0
        by_time = self._seconds is not None and time.monotonic() - self._last >= self._seconds
        if by_count or by_time:
            self._last = time.monotonic()
        return by_count or by_time
