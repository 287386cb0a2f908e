"""Doing harm to a run's processes, and waiting for the right moment."""

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil

from fusion.epoch import EpochReport

Harm = Callable[[], None]


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


def send(kind: str, number: int, which: int = 0) -> Harm:
    """Send a signal to one of them."""

    def harm() -> None:
        os.kill(processes(kind)[which].pid, number)

    return harm


def kill(kind: str, which: int = 0) -> Harm:
    return send(kind, signal.SIGKILL, which)


def freeze(kind: str, which: int = 0) -> Harm:
    return send(kind, signal.SIGSTOP, which)


class Injector:
    """An observer that does harm the first time that a phase is so far, and notes when what was said."""

    def __init__(self, harms: dict[tuple[str, int], Harm]) -> None:
        self.harms = dict(harms)
        self.injected: list[float] = []
        self.lines: list[tuple[float, str]] = []
        self.reports: list[EpochReport] = []
        self._lock = threading.Lock()

    def said(self, line: str) -> None:
        self.lines.append((time.monotonic(), line))

    def advanced(self, phase: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        for (wanted, least), harm in list(self.harms.items()):
            if phase == wanted and done >= least:
                del self.harms[wanted, least]
                self.injected.append(time.monotonic())
                harm()

    def epoch(self, report: EpochReport) -> None:
        self.reports.append(report)

    def student(self, weights: Any, iterations: int) -> None: ...

    def text(self) -> str:
        return "\n".join(line for _, line in self.lines)

    def seconds_until(self, words: str) -> float:
        """From the first harm to the first line with these words after it."""
        return (
            next(when for when, line in self.lines if words in line and when >= self.injected[0])
            - self.injected[0]
        )
