"""What is known of a sweep's trials: in sweep.json, and for who looks on."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from orchestrator import journal
from orchestrator.errors import UserError
from orchestrator.progress import Display
from orchestrator.run_folder import finished_summary, write_json
from orchestrator.sweep.points import Point
from orchestrator.sweep.space import Parameters
from orchestrator.sweep.study import TRIALS, Study, to_json
from orchestrator.sweep.trial import ERROR, objective

SWEEP = "sweep.json"
SCHEMA = 1
State = Literal["waiting", "running", "finished", "failed", "stopped early"]
OVER = ("finished", "failed", "stopped early")


class Row(TypedDict):
    """One trial."""

    name: str
    parameters: Parameters
    seed: int
    folder: str
    """Relative to the sweep's."""
    status: State
    reason: str | None
    """Why it failed."""
    epoch: int
    """The last that is over."""
    objective: float | None
    """After that epoch."""
    seconds: float | None
    seconds_to_first_iteration: float | None


class Board:
    """The rows, in the order in which the trials were planned."""

    def __init__(
        self, study: Study, display: Display, rows: Sequence[Row] = (), kept: Sequence[Row] = ()
    ) -> None:
        """`kept` are of an earlier sweep in the same folder: they are not run."""
        self._study, self._display = study, display
        self._rows = {row["name"]: row for row in rows}
        self._kept = [self._found(row) for row in kept]
        self._written = 0.0

    @property
    def rows(self) -> list[Row]:
        """Of the trials that are to be over in the end, as they are now."""
        return list(self._rows.values())

    @property
    def all_rows(self) -> list[Row]:
        """And of those that are kept."""
        return [*self._kept, *self.rows]

    @property
    def has_results(self) -> bool:
        """Whether any of the trials that are to be over is finished."""
        return any(row["status"] == "finished" for row in self.rows)

    def know(self, points: Sequence[Point]) -> None:
        """These trials will be run; what their folders hold already counts, and what is known of them."""
        for point in points:
            self.set(point, "waiting")
        self.write("running")

    def set(self, point: Point, state: State, why: str | None = None) -> None:
        """Tune says that a trial is in `state`; its folder may know better."""
        before = self._rows.get(point.name)
        row = self._row(point, state, why)
        if before is not None and before["status"] == "stopped early" and row["status"] == "waiting":
            row["status"] = "stopped early"
        self._rows[point.name] = row
        if row["status"] in OVER and (before is None or before["status"] == "running"):
            self._say(row)

    def progressed(self, total: int) -> None:
        """Show how far the `total` trials are."""
        states = [row["status"] for row in self.rows]
        over = sum(state in OVER for state in states)
        failed = f", {states.count('failed')} failed" if "failed" in states else ""
        self._display.note = f"{over} of {total} trials over, {states.count('running')} running{failed}"
        epochs = [self._study.epochs(row["parameters"]) for row in self.rows]
        done = sum(
            all_of_them if row["status"] in OVER else row["epoch"]
            for row, all_of_them in zip(self.rows, epochs, strict=True)
        )
        unknown = (total - len(self.rows)) * self._study.epochs({})  # Which Optuna will choose.
        self._display.advanced("sweep", done, sum(epochs) + unknown)

    def write(self, status: str, at_most_every: float = 0.0) -> None:
        """sweep.json as it is now."""
        if time.monotonic() - self._written < at_most_every:
            return
        self._written = time.monotonic()
        with_data = self._study.base["data"] is not None
        content = {
            "schema": SCHEMA,
            "name": self._study.folder.name,
            "status": status,
            "objective": "accuracy" if with_data else "balanced_agreement",
            "parameters": {
                key: {"label": label, "scale": self._study.space.parameters[key].scale}
                for key, label in self._study.space.labels().items()
            },
            **to_json(self._study),
            "trials": self.all_rows,
        }
        write_json(self._study.folder / SWEEP, content)

    def _found(self, row: Row) -> Row:
        """What is known of a trial that nobody is at work on."""
        state = row["status"] if row["status"] in OVER else "waiting"
        return self._row(Point(row["name"], row["parameters"], row["seed"]), state, row["reason"])

    def _row(self, point: Point, state: State, why: str | None) -> Row:
        folder = self._study.folder / TRIALS / point.name
        row: Row = {
            "name": point.name,
            "parameters": point.parameters,
            "seed": point.seed,
            "folder": f"{TRIALS}/{point.name}",
            "status": state,
            "reason": why,
            "epoch": 0,
            "objective": None,
            "seconds": None,
            "seconds_to_first_iteration": None,
        }
        summary = finished_summary(folder)
        if summary is not None:
            row["status"], row["reason"], row["epoch"] = (
                "finished",
                None,
                self._study.epochs(point.parameters),
            )
            row["objective"] = objective(summary)
            row["seconds"] = summary["seconds"]
            # Older runs do not say when that was.
            row["seconds_to_first_iteration"] = summary.get("seconds_to_first_iteration")
            return row
        error = folder.with_name(point.name + ERROR)
        if error.exists() and state != "waiting":
            row["status"], row["reason"] = "failed", error.read_text(encoding="utf-8")
        epochs = journal.read_epochs(folder)
        if epochs:
            row["epoch"] = max(epochs[-1]["epoch"], 0)
            row["objective"] = epochs[-1]["metrics"].get("eval/accuracy")
        return row

    def _say(self, row: Row) -> None:
        if row["status"] == "finished":
            self._display.said(f"{row['name']}: {row['objective']:.2f} % in {row['seconds']:.0f} s")
        elif row["status"] == "failed":
            self._display.said(f"{row['name']}: failed: {row['reason']}")
        else:
            self._display.said(f"{row['name']}: stopped after epoch {row['epoch']}")


def read_sweep(folder: Path) -> dict[str, Any]:
    """The content of sweep.json.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / SWEEP
    try:
        content = json.loads(path.read_bytes())
        if content["schema"] != SCHEMA:
            raise UserError(f"{path}: schema {content['schema']!r}, not {SCHEMA}; made by another version")
        if not all(set(row) >= set(Row.__annotations__) for row in content["trials"]):
            raise ValueError
    except OSError as error:
        raise UserError(f"{folder}: no sweep ({SWEEP}: {error.strerror})") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: is damaged ({type(error).__name__})") from error
    return content  # type: ignore[no-any-return]
