"""Ray, started so that the signals that are meant for a run reach the run alone."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ray._private import services, utils


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Within the block `ray.init` starts Ray's processes in sessions of their own, and leaves SIGTERM to this
    process.

    A batch system, or `kill` of a process group, signals all that is in it. Without this Ray's store would be
    gone before the run can keep the iteration in work, and Ray ends a driver that has lost its store at once,
    without a word. Ray has no public option for either; a release that names these two otherwise is used as
    it comes.
    """
    changes: list[tuple[Any, str, Callable[[Any], Any]]] = [
        (utils, "set_sigterm_handler", lambda _: lambda _handler: None)
    ]
    if sys.platform == "linux":  # Elsewhere Ray's own cleaner goes by the process group.
        changes.append((services, "ConsolePopen", lambda popen: partial(popen, start_new_session=True)))
    found = [
        (owner, name, getattr(owner, name), change) for owner, name, change in changes if hasattr(owner, name)
    ]
    for owner, name, own, change in found:
        setattr(owner, name, change(own))
    try:
        yield
    finally:
        for owner, name, own, _ in found:
            setattr(owner, name, own)
