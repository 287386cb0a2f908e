"""What checkpoints cost: how long the work stands still for one, how long it is being written, how large it
is.

    python -m benchmarks.checkpoints --json checkpoints.json

`overhead` is the share of the default interval (`checkpoint.every_minutes`) for which parties and student
copy their state, plus the CPU time of writing and hashing, as if that stood in the way too.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import make_settings, make_teachers, parser, print_table, write_json
from fusion.assembly import build_party, build_student
from orchestrator.checkpoints import Checkpoints
from orchestrator.sections import Checkpointing
from orchestrator.snapshot import PartySnapshot, Snapshot
from orchestrator.storage import open_storage

CASES = (("resnet8", 8, 64), ("resnet20", 32, 64), ("resnet18", 32, 64))
PARTIES = 2


def main() -> None:
    """Print the table."""
    options = parser(__doc__).parse_args()
    torch.set_num_threads(1)
    minutes = Checkpointing().every_minutes
    assert minutes is not None
    rows = [measure(*case, seconds=60 * minutes) for case in CASES]
    print_table(list(rows[0]), (list(row.values()) for row in rows))
    write_json(options.json, {"checkpoints": rows})


def measure(network: str, size: int, batch: int, seconds: float) -> dict[str, Any]:
    """One size of run with two parties, after an iteration, so that the optimisers have their state."""
    settings = make_settings(network, size, batch, epochs=1, iterations_per_epoch=1, m_ga=1, m_s=1)
    teachers, device = make_teachers(network, size, PARTIES), torch.device("cpu")
    parties = [build_party(index, PARTIES, one, settings, device) for index, one in enumerate(teachers)]
    student = build_student(teachers, settings, device)
    union = torch.cat([party.step(0)[0] for party in parties])
    student.begin_iteration(0)
    student.update(union)
    started = time.perf_counter()
    states = [party.state() for party in parties]
    snapshot = Snapshot(
        iterations=1,
        student=student.state(),
        parties={
            index: PartySnapshot(warmup_steps=0, iterations=1, state=state)
            for index, state in enumerate(states)
        },
    )
    copying = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        kept = Checkpoints(open_storage(folder), 2, {}, print)
        kept.save(snapshot)
        started, cpu = time.perf_counter(), time.process_time()
        kept.save(snapshot)
        writing, cpu = time.perf_counter() - started, time.process_time() - cpu
        total = sum(path.stat().st_size for path in Path(folder).glob("checkpoint-*2/*"))
    return {
        "network": network,
        "parties": PARTIES,
        "MB": total / 1e6,
        "copying_s": copying,
        "writing_s": writing,
        "overhead": (copying + cpu) / seconds,
    }


if __name__ == "__main__":
    main()
