"""Ships what lies in a run's folder to MLflow, beside the run, whenever the server answers. The folder is the
truth; what could not be shipped can be later (`dfmf sync`)."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator import journal
from orchestrator.errors import UserError
from orchestrator.lock import locked
from orchestrator.run_folder import finished_summary
from orchestrator.secrets import given_again, redact
from orchestrator.sending import NOTE, Note, Sender, read_note, store_of, write_note
from orchestrator.tracking import QUICK, MlflowRun, errors, first_line, is_gone, made_in_turn, unreachable

RETRY_SECONDS = 5.0
LAST_TRY_SECONDS = 10.0
SILENT_SECONDS = 60.0
"""At the end of a run: how long one piece may take to arrive."""
HURRY = 0.1
"""Of these, when the run was stopped or broke off."""


class _Halt(Exception):
    """Nothing more is to be sent, or something else."""


class Shipper:
    """Ships in a thread of its own, so that no step ever waits for a server."""

    def __init__(
        self, folder: Path, note: Note, run: MlflowRun, say: Callable[[str], None], doubt: bool = False
    ) -> None:
        """`doubt`: something may be there that `note` does not know of."""
        self.run_id = note.run_id
        self._folder, self._note, self._say = folder, note, say
        self._sender = Sender(folder, note, run, self._went_on)
        if doubt:
            self._sender.doubt()
        self._wake, self._lock = threading.Event(), threading.Lock()
        self._said = False
        self._back: tuple[int, int] | None = None
        self._given_up = False
        self._broken: str | None = None
        self._trouble_since: float | None = None
        self._moved = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="shipping", daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """There is something new in the folder."""
        self._wake.set()

    def go_back(self, epochs: int) -> None:
        """The run goes back to where it had so many epochs; those after them will be shipped again."""
        with self._lock:
            self._back = (epochs, int(time.time() * 1000))
        self._wake.set()

    def finish(self, status: str) -> None:
        """The run is over: ship what is left, but do not wait long for a server that does not answer."""
        hurry = 1.0 if status == "FINISHED" else HURRY
        self._note.status = status
        self._save()
        self._trouble_since = None  # A server that was away may be back: it is asked once more.
        self._moved = time.monotonic()
        self._wake.set()
        while self._thread.is_alive():
            self._thread.join(timeout=0.1)
            now, since = time.monotonic(), self._trouble_since
            failing = since is not None and now - since > LAST_TRY_SECONDS * hurry
            if failing or now - self._moved > SILENT_SECONDS * hurry:
                break
        self._given_up = True
        self._wake.set()
        if self._note.version:
            self._say(f"the student is registered as {self._note.version}")
        if not self._note.done:
            why = f"was given up ({self._broken})" if self._broken else "is not complete"
            self._say(
                f"shipping to {self._note.uri} {why}; what it lacks is in {self._folder}; "
                f"to send that: dfmf sync {self._folder}"
            )

    def _work(self) -> None:
        while not self._note.done and not self._given_up:
            self._wake.wait(timeout=RETRY_SECONDS if self._trouble_since is not None else None)
            self._wake.clear()
            started = time.monotonic()
            with self._lock:
                back, self._back = self._back, None
            if back is not None:
                self._sender.go_back(*back)
            try:
                self._sender.send()
                self._trouble_since, self._said = None, False
            except _Halt:
                self._wake.set()
            except errors() as error:
                self._sender.doubt()
                self._trouble_since = self._trouble_since or started
                if not self._said:
                    self._said = True
                    self._say(
                        f"{self._note.uri} does not take metrics ({first_line(error)}); they wait in "
                        f"{self._folder}"
                    )
            except Exception as error:  # noqa: BLE001 - whatever befalls the shipping, the run goes on.
                self._broken = first_line(error)
                self._say(f"shipping to {self._note.uri} is given up: {self._broken}")
                return
            finally:
                if not self._given_up:  # Somebody else may be at work on it by now.
                    self._save()

    def _went_on(self) -> None:
        self._moved = time.monotonic()
        if self._given_up or self._back is not None:
            raise _Halt
        self._save()

    def _save(self) -> None:
        with contextlib.suppress(OSError):
            write_note(self._folder, self._note)


def start(
    folder: Path,
    uri: str,
    experiment: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    say: Callable[[str], None],
    register_as: str = "",
) -> Shipper:
    """A new run in MLflow for the one in `folder`, whose student becomes a version of `register_as`.

    Raises:
        UserError: the store cannot be reached.
    """
    be_quick()
    try:
        with made_in_turn(uri):
            run = MlflowRun(uri)
            run_id = run.create(experiment, folder.parent / "mlartifacts", folder.name, params, tags)
    except errors() as error:
        raise UserError(f"tracking.uri: {unreachable(uri, error)}") from error
    note = Note(uri=redact(uri), run_id=run_id, register_as=register_as)
    write_note(folder, note)
    return Shipper(folder, note, run, say)


def resume(
    folder: Path, uri: str | None, say: Callable[[str], None], register_as: str = ""
) -> Shipper | None:
    """Go on shipping the run in `folder`, which goes on too, to the store at `uri`, by default where it is;
    None if it was not tracked, or if that database is gone.

    Raises:
        UserError: the note of the shipping is damaged, or there is no such kind of store.
    """
    note = read_note(folder)
    if note is None:
        return None
    uri = uri or given_again(store_of(folder, note))
    if is_gone(uri):
        say(f"{uri} is gone; the run begins anew in MLflow")
        return None
    be_quick()
    note.uri, note.status, note.done = redact(uri), "RUNNING", False
    note.register_as = register_as
    try:
        run = MlflowRun(uri, note.run_id)
    except errors() as error:
        raise UserError(f"tracking.uri: {unreachable(note.uri, error)}") from error
    with contextlib.suppress(*errors()):
        run.set_status("RUNNING")
    return Shipper(folder, note, run, say, doubt=True)


def sync(folder: Path) -> str:
    """Ship what MLflow lacks of the run in `folder`; what was done, in a line.

    Raises:
        UserError: there is nothing to ship, the run is at work and ships by itself, or the store cannot be
        reached.
    """
    if read_note(folder) is None:
        raise UserError(f"{folder}: no run that is tracked ({NOTE} is missing)")
    with locked(folder):
        note = read_note(folder)
        assert note is not None
        if _unnoticed(folder, note):
            note.status, note.done = "FINISHED", False
        if not note.done:
            sent = _send_all(folder, note)
            shipped = f"{note.uri} has everything of {folder}; {sent} epochs were sent"
            if note.version:
                shipped += f"; the student is registered as {note.version}"
        else:
            shipped = f"{note.uri} has everything of {folder}"
    if note.status == "FINISHED":
        return shipped
    return f"{shipped}; the run is not finished, to go on: dfmf fuse --resume {folder}"


def lacking(folder: Path) -> bool:
    """Whether MLflow lacks something of the run in `folder`.

    Raises:
        UserError: the note of the shipping is damaged.
    """
    note = read_note(folder)
    return note is not None and (not note.done or _unnoticed(folder, note))


def _unnoticed(folder: Path, note: Note) -> bool:
    """Whether the run is finished and the note does not know: its process ended before it shipped that."""
    return note.status != "FINISHED" and finished_summary(folder) is not None


def _send_all(folder: Path, note: Note) -> int:
    """The number of epochs that were sent."""
    be_quick()
    note.uri = store_of(folder, note)
    before = sum(one["epoch"] <= note.epoch for one in journal.read_epochs(folder))
    try:
        sender = Sender(folder, note, MlflowRun(given_again(note.uri), note.run_id))
        sender.doubt()
        sender.send()
    except errors() as error:
        raise UserError(unreachable(note.uri, error)) from error
    finally:
        write_note(folder, note)
    return len(journal.read_epochs(folder)) - before


def be_quick() -> None:
    """Have MLflow not wait long for a server, and be silent; set before it is imported."""
    for variable, value in QUICK.items():
        os.environ.setdefault(variable, value)
