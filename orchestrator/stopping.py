"""Ctrl-C and SIGTERM: the first asks a run to stop and to keep what it has, the second ends it at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 4.0
"""How long the iteration in work may take to finish before the run stops without it."""


class Stopping:
    """Turns the signals into KeyboardInterrupt: at once, or within `deferred` when the grace is over."""

    def __init__(self) -> None:
        self.signal: int | None = None
        """The first that came."""
        self._deferring = False

    @property
    def requested(self) -> bool:
        """Whether to stop."""
        return self.signal is not None

    def request(self) -> None:
        """As if SIGTERM had come, for runs in a process that has others."""
        self.signal = self.signal or signal.SIGTERM

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Within the block the signals are heard; afterwards by whom it was before."""
        main = threading.current_thread() is threading.main_thread()
        taken = (*SIGNALS, signal.SIGALRM) if main else ()
        before = {number: signal.getsignal(number) for number in taken}
        self.install()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def install(self) -> None:
        """Hear the signals from now on (others, such as Ray, take them for themselves)."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._hear)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block the first signal only sets `requested`; the block should then end soon."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
            if self.requested and threading.current_thread() is threading.main_thread():
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        first = self.signal is None
        self.signal = number if first else self.signal
        if first and self._deferring:
            signal.signal(signal.SIGALRM, self._too_late)
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
            return
        raise KeyboardInterrupt

    def _too_late(self, _number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt
