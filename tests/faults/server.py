"""An MLflow server that can be killed, frozen and started again, and a look into its database."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path


class Server:
    """`mlflow server` on a free port with SQLite and its artifacts in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers; nothing to do if it runs."""
        if self._process is not None:
            return
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        log, settings = self.folder / "log", {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=settings, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        if self._process is not None:
            self.send(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def send(self, number: int) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with sqlite3.connect(f"file:{self.folder}/mlflow.db?mode=ro", uri=True) as database:
            found = database.execute(query, values).fetchall()
        database.close()
        return found

    def points(self, run_id: str) -> Counter[tuple[str, int]]:
        """How often there is a metric at a step."""
        rows = self.rows("SELECT key, step FROM metrics WHERE run_uuid = ?", run_id)
        return Counter((str(key), int(str(step))) for key, step in rows)

    def status(self, run_id: str) -> object:
        return self.rows("SELECT status FROM runs WHERE run_uuid = ?", run_id)[0][0]

    def models(self, run_id: str) -> list[tuple[object, ...]]:
        return self.rows("SELECT name, status FROM logged_models WHERE source_run_id = ?", run_id)

    def artifacts(self, run_id: str) -> list[str]:
        """Of the run, as paths."""
        folder = next(self.folder.glob(f"artifacts/*/{run_id}/artifacts"))
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    def _answers(self) -> bool:
        try:
            path = "api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"  # Needs the database.
            with urllib.request.urlopen(f"{self.uri}/{path}", timeout=20) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
