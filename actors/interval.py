"""When the next snapshot is due."""

import time


class Interval:
    """Every so many iterations, or seconds, or both; None: not by that."""

    def __init__(self, iterations: int | None = None, seconds: float | None = None) -> None:
        self._iterations = iterations
        self._seconds = seconds
        self._last = time.monotonic()

    def due(self, done: int, since: int = 1) -> bool:
        """Whether to take one after `done` iterations, about the last `since` of which nobody asked; the
        clock then starts anew."""
        every = self._iterations
        by_count = every is not None and done // every > (done - since) // every
        by_time = self._seconds is not None and time.monotonic() - self._last >= self._seconds
        if by_count or by_time:
            self._last = time.monotonic()
        return by_count or by_time
