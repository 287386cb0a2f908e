"""`dfmf` in a process of its own, which can be stopped in every way."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Driver:
    """`dfmf fuse` with `arguments`, or another `command`; `prefix` runs it, such as `unshare`."""

    def __init__(
        self, folder: Path, *arguments: str, command: str = "fuse", prefix: tuple[str, ...] = ()
    ) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "orchestrator", command, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Who starts this may ignore SIGINT, as a shell does for its background jobs.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Look often, so that what happens next can still be disturbed."""
        deadline = time.monotonic() + 240
        while not happened():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self, *signals: int, seconds: float = 240) -> tuple[int, str, str]:
        """Exit code, output and errors, after the signals and at most so many seconds."""
        try:
            for number in signals:
                os.killpg(self.process.pid, number)
                time.sleep(0.3)
            output, errors = self.process.communicate(timeout=seconds)
        finally:
            self.process.kill()
        return self.process.returncode, output, errors
