"""The run's metrics on disk: a line an epoch while it runs, one Parquet table when it ends."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

JOURNAL = "metrics.jsonl"
TABLE = "metrics.parquet"


def append_epoch(folder: Path, epoch: int, iteration: int, metrics: dict[str, float]) -> None:
    """Add one epoch's metrics; what was written survives a crash."""
    with (folder / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write(json.dumps({"epoch": epoch, "iteration": iteration, "metrics": metrics}) + "\n")


def write_table(folder: Path) -> Path:
    """The journal as a Parquet table with columns epoch, iteration, name and value; the journal goes."""
    journal = folder / JOURNAL
    rows = []
    if journal.exists():
        for line in journal.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            rows += [
                {"epoch": record["epoch"], "iteration": record["iteration"], "name": name, "value": value}
                for name, value in record["metrics"].items()
            ]
    schema = pa.schema(
        [("epoch", pa.int64()), ("iteration", pa.int64()), ("name", pa.string()), ("value", pa.float64())]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / TABLE)
    journal.unlink(missing_ok=True)
    return folder / TABLE
