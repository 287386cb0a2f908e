"""What MLflow lacks of a run, read from the run's folder and sent once: each epoch's metrics and
pictures, and at the end the results."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from PIL import Image

from orchestrator import journal
from orchestrator.environment import ENVIRONMENT
from orchestrator.errors import UserError
from orchestrator.recording import flat_summary
from orchestrator.run_folder import write_json
from orchestrator.sections import Tracking
from orchestrator.tracking import MAX_METRICS, MlflowRun, first_line, is_gone, tracking_uri

NOTE = "tracking.json"
ARTIFACTS = (
    "config.yaml",
    "summary.json",
    "MODEL_CARD.md",
    ENVIRONMENT,
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
    since_ms: int = 0
    """When the run last went back because its numbers were no good: older metrics there do not count."""
    status: str = "RUNNING"
    """What the run has come to."""
    done: bool = False
    """Whether everything was shipped."""
    register_as: str = ""
    """The registered model that the student becomes a version of; empty: of none."""
    version: str = ""
    """The URI of that version."""


class Sender:
    """Sends what is new in `folder`; `note` says what is not, and is kept up to date.

    Nothing arrives twice, though an attempt that broke off may have arrived: pictures, files and the model
    have names of their own, and metrics are looked for after any `doubt`. `went_on` is called after each
    piece; what it raises ends the sending there.
    """

    def __init__(
        self, folder: Path, note: Note, run: MlflowRun, went_on: Callable[[], None] = lambda: None
    ) -> None:
        self._folder, self._note, self._run, self._went_on = folder, note, run, went_on
        self._arrived: dict[str, set[int]] | None = None

    def doubt(self) -> None:
        """Something may be there that `note` does not know of."""
        self._arrived = {}

    def go_back(self, epochs: int, since_ms: int) -> None:
        """Send again what comes after so many epochs; what is there from before `since_ms` is out of date."""
        self._note.epoch, self._note.since_ms = min(self._note.epoch, epochs), since_ms
        self.doubt()

    def send(self) -> None:
        """Everything that is new.

        Raises:
            UserError: a file of the folder is damaged.
            Exception: one of `orchestrator.tracking.errors`: the store does not take it.
        """
        note, run = self._note, self._run
        status = note.status  # Set after the last epoch is written, so to be read before the journal is.
        for one in journal.read_epochs(self._folder):
            if one["epoch"] > note.epoch:
                self._metrics(one["epoch"], one["metrics"], one["timestamp_ms"])
                run.log_pictures(self._pictures(one["epoch"]), one["epoch"], one["timestamp_ms"])
                note.epoch = one["epoch"]
                self._went_on()
        if status == "RUNNING":
            return
        if status == "FINISHED":
            self._results()
        run.set_status(status)
        note.done = True

    def _results(self) -> None:
        summary, card = self._read("summary.json"), self._read("student.json")
        try:
            numbers, classes = flat_summary(summary), len(card["classes"])
            channels, size = card["channels"], card["image_size"]
        except (LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{self._folder}: summary.json or student.json is damaged") from error
        written = int((self._folder / "summary.json").stat().st_mtime * 1000)
        self._metrics(self._note.epoch, numbers, written)
        self._went_on()
        for name in ARTIFACTS:
            self._run.log_file(self._folder / name)
            self._went_on()
        self._run.log_student(self._folder, channels, size, classes)
        self._went_on()
        self._run.log_teachers(summary["teachers"])
        self._went_on()
        if self._note.register_as:
            self._note.version = self._run.register_student(
                self._folder, self._note.register_as, summary["teachers"]
            )
            self._went_on()

    def _metrics(self, step: int, metrics: dict[str, float], timestamp_ms: int) -> None:
        names = list(metrics)
        for first in range(0, len(names), MAX_METRICS):
            batch = {name: metrics[name] for name in names[first : first + MAX_METRICS]}
            if not self._has(names[first], step):
                self._run.log_metrics(step, batch, timestamp_ms)

    def _has(self, name: str, step: int) -> bool:
        if self._arrived is None:
            return False
        if name not in self._arrived:
            self._arrived[name] = self._run.steps(name, self._note.since_ms)
        return step in self._arrived[name]

    def _pictures(self, epoch: int) -> dict[str, Image.Image]:
        """By party; one that cannot be read, which a crash may leave, is left out."""
        pictures: dict[str, Image.Image] = {}
        for path in sorted((self._folder / "samples").glob(f"*-epoch-{epoch:04d}.png")):
            try:
                with Image.open(path) as image:
                    image.load()
                    pictures[path.name.rpartition("-epoch-")[0]] = image
            except (OSError, SyntaxError, ValueError):  # What Pillow raises depends on what is broken.
                continue
        return pictures

    def _read(self, name: str) -> dict[str, Any]:
        path = self._folder / name
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: cannot be read ({first_line(error)})") from error
        if not isinstance(content, dict):
            raise UserError(f"{path}: is damaged")
        return content


def read_note(folder: Path) -> Note | None:
    """What is known of the shipping of the run in `folder`.

    Raises:
        UserError: the note is damaged, or cannot be read.
    """
    path = folder / NOTE
    try:
        note = Note(**json.loads(path.read_bytes()))
        for name, kind in get_type_hints(Note).items():
            if type(getattr(note, name)) is not kind:
                raise TypeError(f"{name} is no {kind.__name__}")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: is damaged ({first_line(error)}); without it the run is shipped anew, as another one"
        ) from error
    return note


def write_note(folder: Path, note: Note) -> None:
    """Keep it in the run's folder."""
    write_json(folder / NOTE, dataclasses.asdict(note))


def store_of(folder: Path, note: Note) -> str:
    """Where MLflow has the run in `folder`; a database that was moved together with it is still beside it."""
    beside = tracking_uri(Tracking(), folder.resolve().parent)
    return beside if is_gone(note.uri) and not is_gone(beside) else note.uri
