"""What befalls a run, and what becomes of it: every fault is done for real, every result is compared.

    python -m benchmarks.faults --json faults.json

A run that was hit must end by itself (or after `dfmf fuse --resume`, where its driver was hit) with the bits
of one that was not. `--only WORDS` does the rows whose name has these words.
"""

import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.common import parser, print_table, write_json
from benchmarks.fault_table import actors, drivers
from benchmarks.fault_table.row import Case, Row
from orchestrator.cluster import cluster
from orchestrator.sections import EngineSettings


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--only", default="", help="rows whose name has these words")
    chosen = options.parse_args()
    torch.set_num_threads(1)

    def wanted(cases: list[Case]) -> list[Case]:
        return [case for case in cases if chosen.only in case[0]]

    rows: list[Row] = []

    def do(case: Case) -> None:
        rows.append(done(*case))
        write_json(chosen.json, {"faults": [dataclasses.asdict(row) for row in rows]})

    if on_actors := wanted(actors.on_actors()):
        with cluster(EngineSettings()):
            for case in on_actors:
                do(case)
    for case in wanted([actors.memory_monitor(), *actors.on_nodes(), actors.workers_killed()]):
        do(case)
    with tempfile.TemporaryDirectory() as folder:
        for case in wanted(drivers.cases(Path(folder))):
            do(case)
    print_table([field.name for field in dataclasses.fields(Row)], (_shown(row) for row in rows))
    if not all(row.ended == row.runs and row.bit_equal is not False and row.lost == 0 for row in rows):
        sys.exit(1)


def done(name: str, run: "drivers.Run") -> Row:
    """One row, with a line on the way."""
    started = time.monotonic()
    try:
        row = run()
    except Exception as error:  # noqa: BLE001 - a run that did not end is a row too.
        words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        row = Row(name=name, injected=1, ended=0, bit_equal=False, note=words)
    print(
        f"{name}: {'same bits' if row.bit_equal else row.bit_equal}, {time.monotonic() - started:.0f} s",
        file=sys.stderr,
    )
    return row


def _shown(row: Row) -> list[object]:
    return ["-" if value is None else value for value in dataclasses.asdict(row).values()]


if __name__ == "__main__":
    main()
