"""One call in a process of its own: what it raised, how much time of the processor it took, how much memory
it needed."""

import dataclasses
import multiprocessing
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

PATIENCE = 20.0
"""Seconds after which the process is ended."""
ADDRESS_SPACE = 8 * 2**30
"""Bytes that it may map beyond what it has."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How the call ended."""

    error: str | None
    """Name of the exception's class; None: it returned; 'killed': it did not end by itself."""
    message: str
    seconds: float
    """Of the processor: a machine with other work makes no test fail."""
    growth: int
    """Bytes by which the peak of the resident memory grew."""


def isolated(call: Callable[[], object]) -> Outcome:
    """Fork this process, with the libraries that it has imported, and call there."""
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(call, theirs))
    process.start()
    theirs.close()
    outcome = Outcome("killed", "", PATIENCE, 0)
    if mine.poll(PATIENCE):
        try:
            outcome = mine.recv()
        except EOFError:
            outcome = Outcome("killed", "", 0.0, 0)
    process.kill()
    process.join()
    return outcome


def _report(call: Callable[[], object], pipe: Connection) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_mapped() + ADDRESS_SPACE, hard))
    before, start = _peak(), time.process_time()
    error, message = None, ""
    try:
        call()
    except BaseException as raised:  # noqa: BLE001 - whatever it is, it is reported
        error, message = type(raised).__name__, str(raised)
    pipe.send(Outcome(error, message, time.process_time() - start, _peak() - before))


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _mapped() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
