"""Ray's processes are out of reach of signals to this process's group, and SIGTERM stays whose it was; Ray
itself is as it was afterwards. What this is for is tested on Ray, in tests/faults/test_resume.py."""

import signal
import subprocess
import sys

import pytest
from ray._private import services, utils

from orchestrator.own_signals import own_signals

GROUP = [sys.executable, "-c", "import os; print(os.getpgrp() == os.getpid() == os.getsid(0))"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Ray's own cleaner goes by the process group")
def test_what_ray_starts_within_is_in_a_session_of_its_own() -> None:
    with own_signals():
        inside = services.ConsolePopen(GROUP, stdout=subprocess.PIPE, text=True)
    after = services.ConsolePopen(GROUP, stdout=subprocess.PIPE, text=True)
    assert [one.communicate()[0].strip() for one in (inside, after)] == ["True", "False"]


def test_sigterm_is_not_taken_within() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with own_signals():
        utils.set_sigterm_handler(lambda *_: None)
        assert signal.getsignal(signal.SIGTERM) is before


def test_ray_is_as_it_was_after_an_error() -> None:
    before = services.ConsolePopen, utils.set_sigterm_handler
    with pytest.raises(KeyboardInterrupt), own_signals():
        raise KeyboardInterrupt
    assert (services.ConsolePopen, utils.set_sigterm_handler) == before


def test_a_ray_that_names_them_otherwise_is_used_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(services, "ConsolePopen")
    monkeypatch.delattr(utils, "set_sigterm_handler")
    with own_signals():
        pass
    assert not hasattr(services, "ConsolePopen")
    assert not hasattr(utils, "set_sigterm_handler")
