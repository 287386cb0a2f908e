"""Ctrl-C and SIGTERM: at once outside `deferred`, asked for within it, and at once again the second time."""

import os
import signal
import threading
import time

import pytest

from orchestrator import stopping
from orchestrator.stopping import Stopping


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.05)  # Python's handler runs between two instructions.


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_outside_a_deferred_block_the_first_signal_stops_at_once(number: int) -> None:
    one = Stopping()
    assert not one.requested
    with one.installed(), pytest.raises(KeyboardInterrupt):
        send(number)
    assert (one.requested, one.signal) == (True, number)


def test_within_a_deferred_block_the_first_only_asks_and_the_second_stops() -> None:
    one = Stopping()
    with one.installed():
        with one.deferred():
            send(signal.SIGTERM)
            assert one.requested
            with pytest.raises(KeyboardInterrupt):
                send(signal.SIGINT)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert one.signal == signal.SIGTERM


def test_an_iteration_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "GRACE_SECONDS", 0.1)
    one = Stopping()
    started = time.monotonic()
    with one.installed(), pytest.raises(KeyboardInterrupt), one.deferred():  # noqa: PT012 - it is raised later
        send(signal.SIGINT)
        time.sleep(20)
    assert time.monotonic() - started < 15


def test_a_block_that_ends_in_time_is_left_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "GRACE_SECONDS", 1.0)
    one = Stopping()
    with one.installed():
        with one.deferred():
            send(signal.SIGINT)
        time.sleep(1.2)


def test_afterwards_the_signals_and_the_alarm_are_as_they_were() -> None:
    before = {number: signal.getsignal(number) for number in (*stopping.SIGNALS, signal.SIGALRM)}
    one = Stopping()
    with one.installed(), one.deferred():
        one.install()  # Ray had taken them.
        send(signal.SIGTERM)
    assert {number: signal.getsignal(number) for number in before} == before


def test_in_another_thread_nothing_is_installed() -> None:
    found: list[object] = []

    def work() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with Stopping().installed(), Stopping().deferred():
            found.append(signal.getsignal(signal.SIGTERM) == before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [True]
