"""Doing harm to a run's processes, and waiting for the right moment."""

import time
from collections.abc import Callable
from typing import Any

import psutil

from fusion.epoch import EpochReport

Harm = Callable[[], None]
START_SECONDS = 60.0
"""How long a process may take to be there, or to be gone."""


def processes(kind: str) -> list[psutil.Process]:
    """Ray's worker processes of this kind that descend from this process, oldest first."""
    found = []
    for one in psutil.Process().children(recursive=True):
        try:
            if one.status() != psutil.STATUS_ZOMBIE and f"ray::{kind}" in " ".join(one.cmdline()):
                found.append(one)
        except psutil.NoSuchProcess:
            continue
    return sorted(found, key=lambda one: one.create_time())


def oldest(kind: str) -> psutil.Process:
    """Of these processes; waits for one."""
    deadline = time.monotonic() + START_SECONDS
    while not (found := processes(kind)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found[0]


def kill(kind: str) -> Harm:
    """As the kernel does when memory runs out, the oldest; when it is there again, it is the newest."""
    return lambda: _kill(oldest(kind))


def kill_newest(kind: str, count: int) -> Harm:
    """Kill the one that was killed before, when all `count` are there again."""

    def harm() -> None:
        deadline = time.monotonic() + START_SECONDS
        while len(found := processes(kind)) < count and time.monotonic() < deadline:
            time.sleep(0.1)
        _kill(found[-1])

    return harm


def _kill(one: psutil.Process) -> None:
    """And wait until it is gone, so that the next harm, which may come at once, hits another one."""
    one.kill()
    one.wait(START_SECONDS)


def freeze(kind: str) -> Harm:
    """As a GPU that hangs does; Ray does not notice."""
    return lambda: oldest(kind).suspend()


class Injector:
    """An observer that does harm the first time that a phase is so far, and notes when what was said."""

    def __init__(self, harms: dict[tuple[str, int], Harm]) -> None:
        self.harms = dict(harms)
        self.injected: list[float] = []
        self.lines: list[tuple[float, str]] = []
        self.progress: list[tuple[float, str, int]] = []
        self.reports: list[EpochReport] = []

    def said(self, line: str) -> None:
        """Note it, with the time."""
        self.lines.append((time.monotonic(), line))

    def advanced(self, phase: str, done: int, total: int) -> None:
        """Do the harm that is due."""
        assert 0 <= done <= total
        self.progress.append((time.monotonic(), phase, done))
        for (wanted, least), harm in list(self.harms.items()):
            if phase == wanted and done >= least:
                del self.harms[wanted, least]
                self.injected.append(time.monotonic())
                harm()

    def epoch(self, report: EpochReport) -> None:
        """Note it."""
        self.reports.append(report)

    def student(self, weights: Any, iterations: int) -> None:
        """Not of interest."""

    def text(self) -> str:
        """Everything that was said."""
        return "\n".join(line for _, line in self.lines)

    def detected(self) -> float | None:
        """Seconds from the first harm until something was said about it."""
        told = [when for when, line in self.lines if when >= self.injected[0] and "restart" in line]
        return told[0] - self.injected[0] if told else None

    def recovered(self) -> float:
        """Seconds from the first harm until the party was restored, or else until the run was further than it
        had been."""
        harm = self.injected[0]
        restored = [when for when, line in self.lines if when >= harm and "restored from" in line]
        if restored:
            return restored[0] - harm
        reached = max((phase == "fusion", done) for when, phase, done in self.progress if when <= harm)
        further = [
            when for when, phase, done in self.progress if when > harm and (phase == "fusion", done) > reached
        ]
        return (further[0] if further else time.monotonic()) - harm
