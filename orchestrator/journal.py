"""The run's metrics on disk: a line an epoch while it runs, one Parquet table when it ends."""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import UserError
from orchestrator.run_folder import write_bytes, write_text

JOURNAL = "metrics.jsonl"
TABLE = "metrics.parquet"


class Epoch(TypedDict):
    """One line."""

    epoch: int
    """From 1; 0 is the end of the warm-up."""
    iteration: int
    timestamp_ms: int
    metrics: dict[str, float]


def append_epoch(folder: Path, epoch: int, iteration: int, metrics: dict[str, float]) -> None:
    """Add one epoch's metrics; what was written survives a crash."""
    line: Epoch = {
        "epoch": epoch,
        "iteration": iteration,
        "timestamp_ms": int(time.time() * 1000),
        "metrics": metrics,
    }
    with (folder / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write(json.dumps(line) + "\n")
        journal.flush()
        os.fsync(journal.fileno())


def read_epochs(folder: Path) -> list[Epoch]:
    """All epochs, of a run that goes on or of one that has ended; a last line that a crash cut off is left
    out.

    Raises:
        UserError: the file cannot be read, or is damaged.
    """
    path = folder / JOURNAL
    try:
        with contextlib.suppress(
            FileNotFoundError
        ):  # Which it may be in a moment: the run's end makes a table.
            return [_of_line(line) for line in path.read_bytes().split(b"\n")[:-1]]
        path = folder / TABLE
        return _of_table(path) if path.exists() else []
    except (OSError, LookupError, ValueError, TypeError, RecursionError) as error:  # Arrow's are ValueErrors.
        raise UserError(f"{path}: is damaged ({type(error).__name__})") from error


def go_back(folder: Path, epochs: int) -> list[Epoch]:
    """Forget what came after `epochs` epochs (-1: after nothing, not even the warm-up); what is left."""
    left = [one for one in read_epochs(folder) if one["epoch"] <= epochs]
    write_text(folder / JOURNAL, "".join(json.dumps(one) + "\n" for one in left))
    return left


def write_table(folder: Path) -> None:
    """The journal as a Parquet table with columns epoch, iteration, timestamp_ms, name and value; the journal
    goes."""
    rows = [
        {**{key: one[key] for key in ("epoch", "iteration", "timestamp_ms")}, "name": name, "value": value}  # type: ignore[literal-required]
        for one in read_epochs(folder)
        for name, value in one["metrics"].items()
    ]
    numbers = [(name, pa.int64()) for name in ("epoch", "iteration", "timestamp_ms")]
    schema = pa.schema([*numbers, ("name", pa.string()), ("value", pa.float64())])
    table = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), table)
    write_bytes(folder / TABLE, table.getvalue().to_pybytes())
    (folder / JOURNAL).unlink(missing_ok=True)


def _of_line(line: bytes) -> Epoch:
    one = json.loads(line)
    return {
        "epoch": int(one["epoch"]),
        "iteration": int(one["iteration"]),
        "timestamp_ms": int(one["timestamp_ms"]),
        "metrics": {str(name): float(value) for name, value in dict(one["metrics"]).items()},
    }


def _of_table(path: Path) -> list[Epoch]:
    epochs: dict[int, Epoch] = {}
    for row in pq.read_table(path).to_pylist():
        one = epochs.setdefault(
            row["epoch"],
            {
                "epoch": row["epoch"],
                "iteration": row["iteration"],
                "timestamp_ms": row["timestamp_ms"],
                "metrics": {},
            },
        )
        one["metrics"][row["name"]] = row["value"]
    return list(epochs.values())
