"""What a person sees while a run goes on: a bar with an ETA on a terminal, else a plain line now and then."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_SECONDS = 10.0


class Display:
    """Shows phases one after the other; `advanced` may be called as often as one likes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._paces: dict[str, _Pace] = {}
        self._next_line = 0.0
        self._shown: tuple[str, int, str] | None = None
        self.note = ""

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._bars.stop()

    def said(self, line: str) -> None:
        """A line that stays."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def advanced(self, phase: str, done: int, total: int) -> None:
        """So much of `phase` is done; what was done when it was first heard of tells nothing about the
        pace."""
        if total <= 0:
            return
        if self.console.is_terminal:
            if phase not in self._tasks:
                self._tasks[phase] = self._bars.add_task(phase, total=total, completed=done, note="")
            self._bars.update(self._tasks[phase], completed=done, note=self.note)
            return
        now = time.monotonic()
        if phase not in self._paces:
            self._paces[phase] = _Pace(now, done)
            self._next_line = now + PLAIN_SECONDS
        pace, news = self._paces[phase], (phase, done, self.note)
        pace.reached(done, now)
        if now >= self._next_line and news != self._shown and pace.before < done < total:
            self._next_line, self._shown = now + PLAIN_SECONDS, news
            left = _duration(pace.left(total, now))
            self.said(f"{phase}: {done}/{total}, about {left} left{self.note and ', ' + self.note}")


class _Pace:
    """How fast a phase gets on, from what was done when it was first heard of."""

    def __init__(self, now: float, done: int) -> None:
        self._since, self._at = now, now
        self.before, self._done = done, done

    def reached(self, done: int, now: float) -> None:
        """So much is done; what was known already is not news."""
        if done != self._done:
            self._done, self._at = done, now

    def left(self, total: int, now: float) -> float:
        """Seconds that are left, by what has been done since; those since the last of it are over."""
        whole = (self._at - self._since) * (total - self._done) / (self._done - self.before)
        return max(0.0, whole - (now - self._at))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    )
