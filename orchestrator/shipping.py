"""Ships what lies in a run's folder to MLflow, beside the run: each epoch once, in order, whenever the server
answers. The folder is the truth; what could not be shipped can be later (`dfmf sync`)."""

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from orchestrator import journal
from orchestrator.errors import UserError
from orchestrator.recording import flat_summary
from orchestrator.run_folder import write_json
from orchestrator.secrets import given_again, redact
from orchestrator.tracking import QUICK, MlflowRun, errors, first_line

NOTE = "tracking.json"
RETRY_SECONDS = 5.0
LAST_TRY_SECONDS = 10.0
START_SECONDS = 60.0
ARTIFACTS = (
    "config.yaml",
    "summary.json",
    "MODEL_CARD.md",
    "environment.json",
    journal.TABLE,
    "plots",
    "teachers",
)


@dataclasses.dataclass
class Note:
    """How far the shipping is; lies in the run's folder."""

    uri: str
    """Without a password, which the environment must give again (`orchestrator.secrets`)."""
    run_id: str
    epoch: int = -1
    """The last that was shipped."""
    status: str = "RUNNING"
    """What the run has come to."""
    done: bool = False
    """Whether everything was shipped."""


class Shipper:
    """Ships in a thread of its own, so that no step ever waits for a server."""

    def __init__(self, folder: Path, note: Note, run: MlflowRun, say: Callable[[str], None]) -> None:
        self.run_id = note.run_id
        self._folder, self._note, self._run, self._say = folder, note, run, say
        self._wake = threading.Event()
        self._said = False
        self._unsure = True  # An epoch may have arrived without our having heard of it.
        self._trouble_since: float | None = None
        self._thread = threading.Thread(target=self._work, name="shipping", daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """There is something new in the folder."""
        self._wake.set()

    def go_back(self, epochs: int) -> None:
        """The run goes back to where it had so many epochs; those after them will be shipped again."""
        self._note.epoch = min(self._note.epoch, epochs)

    def finish(self, status: str) -> None:
        """The run is over: ship what is left, but do not wait long for a server that does not answer."""
        patience = LAST_TRY_SECONDS if status == "FINISHED" else 1.0
        self._note.status = status
        self._trouble_since = None  # A server that was away may be back: it is asked once more.
        self._wake.set()
        while self._thread.is_alive():
            self._thread.join(timeout=0.1)
            since = self._trouble_since
            if since is not None and time.monotonic() - since > patience:
                break
        self._save()
        if not self._note.done:
            self._say(
                f"{self._note.uri} does not answer; what it lacks is in {self._folder}; "
                f"when it does: dfmf sync {self._folder}"
            )

    def _work(self) -> None:
        while not self._note.done:
            self._wake.wait(timeout=RETRY_SECONDS if self._trouble_since is not None else None)
            self._wake.clear()
            started = time.monotonic()
            try:
                ship(self._folder, self._note, self._run, self._unsure)
                self._trouble_since, self._unsure, self._said = None, False, False
            except errors() as error:
                self._unsure = True
                self._trouble_since = self._trouble_since or started
                if not self._said:
                    self._said = True
                    self._say(
                        f"{self._note.uri} does not take metrics ({first_line(error)}); they wait in "
                        f"{self._folder}"
                    )
            self._save()

    def _save(self) -> None:
        with contextlib.suppress(OSError):
            write_json(self._folder / NOTE, dataclasses.asdict(self._note))


def ship(folder: Path, note: Note, run: MlflowRun, unsure: bool) -> None:
    """Everything of the run in `folder` that was not shipped yet; `note` says what was, and is kept up to
    date."""
    for one in journal.read_epochs(folder):
        if one["epoch"] > note.epoch:
            run.log_metrics(one["epoch"], one["metrics"], one["timestamp_ms"], again=unsure)
            for path in sorted((folder / "samples").glob(f"*-epoch-{one['epoch']:04d}.png")):
                party = path.name.rpartition("-epoch-")[0]
                with Image.open(path) as image:
                    run.log_image(f"samples/{party}", image, step=one["epoch"])
            note.epoch = one["epoch"]
    if note.status == "RUNNING":
        return
    if note.status == "FINISHED":
        summary = json.loads((folder / "summary.json").read_bytes())
        run.log_metrics(note.epoch, flat_summary(summary), int(time.time() * 1000), again=unsure)
        run.log_files(folder, ARTIFACTS)
        card = json.loads((folder / "student.json").read_bytes())
        run.log_student(folder, card["channels"], card["image_size"], len(card["classes"]))
    run.set_status(note.status)
    note.done = True


def start(
    folder: Path,
    uri: str,
    experiment: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    say: Callable[[str], None],
) -> Shipper:
    """A new run in MLflow for the one in `folder`.

    Raises:
        UserError: the store cannot be reached.
    """
    _be_quick()
    try:
        run = MlflowRun(uri)
        run_id = run.create(experiment, folder.parent / "mlartifacts", folder.name, params, tags)
    except errors() as error:
        raise UserError(f"tracking.uri: cannot reach {redact(uri)} ({first_line(error)})") from error
    note = Note(uri=redact(uri), run_id=run_id)
    write_json(folder / NOTE, dataclasses.asdict(note))
    return Shipper(folder, note, run, say)


def resume(folder: Path, uri: str, say: Callable[[str], None]) -> Shipper | None:
    """Go on shipping the run in `folder`, which goes on too, to the store at `uri`; None if it was not
    tracked."""
    note = read_note(folder)
    if note is None:
        return None
    _be_quick()
    run = MlflowRun(uri, note.run_id)
    note.status, note.done = "RUNNING", False
    with contextlib.suppress(*errors()):
        run.set_status("RUNNING")
    return Shipper(folder, note, run, say)


def sync(folder: Path) -> str:
    """Ship what MLflow lacks of the run in `folder`; what was done, in a line.

    Raises:
        UserError: there is nothing to ship, or the store cannot be reached.
    """
    note = read_note(folder)
    if note is None:
        raise UserError(f"{folder}: no run that is tracked ({NOTE} is missing)")
    if note.done:
        return f"{note.uri} has everything of {folder}"
    _be_quick()
    before = note.epoch
    try:
        ship(folder, note, MlflowRun(given_again(note.uri), note.run_id), unsure=True)
    except errors() as error:
        raise UserError(f"cannot reach {note.uri} ({first_line(error)})") from error
    finally:
        write_json(folder / NOTE, dataclasses.asdict(note))
    return f"{note.uri} has everything of {folder}; {note.epoch - before} epochs were sent"


def read_note(folder: Path) -> Note | None:
    """What is known of the shipping of the run in `folder`.

    Raises:
        UserError: the note is damaged.
    """
    try:
        return Note(**json.loads((folder / NOTE).read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder / NOTE}: damaged ({first_line(error)})") from error


def _be_quick() -> None:
    for variable, value in QUICK.items():
        os.environ.setdefault(variable, value)
