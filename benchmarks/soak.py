"""A long run of eight parties with a small object store: does memory grow, is anything spilled, lost or
repeated?

    python -m benchmarks.soak --iterations 1000 --json soak.json

Every iteration of every party carries its number and a checksum, which the student checks (`engine.verify`);
it takes each once and in order, or the run fails.
"""

import contextlib
import os
import statistics
import time
from pathlib import Path
from typing import Any

import psutil
import ray

from benchmarks.common import NO_COLLAPSE, make_settings, make_teachers, parser, write_json
from benchmarks.object_store import object_store_mb
from fusion.epoch import EpochReport
from orchestrator.cluster import ROOT, placed
from orchestrator.distributed import RayEngine
from orchestrator.engines import Job
from orchestrator.keeper import Keeper
from orchestrator.sections import EngineSettings

STORE_BYTES = 100 * 2**20
EPOCHS = 20


class Gauge:
    """Notes memory, open files, the object store and what was spilled at the end of every epoch."""

    def __init__(self) -> None:
        self.samples: list[dict[str, float]] = []

    def said(self, line: str) -> None:
        """Not of interest."""

    def advanced(self, phase: str, done: int, total: int) -> None:
        """Not of interest."""

    def student(self, weights: Any, iterations: int) -> None:
        """Not of interest."""

    def epoch(self, report: EpochReport) -> None:
        """Called after the warm-up too."""
        memory = files = 0
        for one in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # It has ended.
                if "ray::" in " ".join(one.cmdline()[:1]) or one.pid == os.getpid():
                    memory += one.memory_full_info().uss
                    files += one.num_fds()
        used, spilled = object_store_mb()
        self.samples.append(
            {
                "seconds": time.monotonic(),
                "memory_mb": memory / 2**20,
                "files": float(files),
                "spilled_mb": spilled,
                "store_mb": used,
            }
        )


def main() -> None:
    """Print what was found."""
    options = parser(__doc__)
    options.add_argument("--iterations", type=int, default=1000)
    options.add_argument("--parties", type=int, default=8)
    chosen = options.parse_args()
    length = max(1, chosen.iterations // EPOCHS)
    settings = make_settings("resnet8", 8, 64, epochs=EPOCHS, iterations_per_epoch=length, m_ga=1, m_s=2)
    teachers = make_teachers("resnet8", 8, chosen.parties)
    keeper = Keeper(iterations=length)
    engine, gauge = EngineSettings(party_actors=2, verify=True), Gauge()
    variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ray.init(
        address="local",
        num_cpus=4,
        object_store_memory=STORE_BYTES,
        include_dashboard=False,
        runtime_env={"env_vars": variables},
        log_to_driver=False,
        logging_level="error",
    )
    with placed(chosen.parties, engine, gauge.said) as (plan, group):
        job = Job(
            teachers=teachers,
            settings=settings,
            evaluation=None,
            limits=NO_COLLAPSE,
            folder=Path(),
            keeper=keeper,
        )
        fused = RayEngine(engine, plan, group).fuse(job, gauge)
    steady = gauge.samples[len(gauge.samples) // 4 :]
    minutes = [(one["seconds"] - steady[0]["seconds"]) / 60 for one in steady]
    slope = statistics.linear_regression(minutes, [one["memory_mb"] for one in steady]).slope
    numbers = {
        "parties": chosen.parties,
        "iterations": fused.iterations,
        "iterations_per_s": (len(steady) - 1) * length / (steady[-1]["seconds"] - steady[0]["seconds"]),
        "memory_mb_first": steady[0]["memory_mb"],
        "memory_mb_last": steady[-1]["memory_mb"],
        "memory_mb_per_minute": slope,
        "files_first": steady[0]["files"],
        "files_last": steady[-1]["files"],
        "store_mb_most": max(one["store_mb"] for one in gauge.samples),
        "store_mb_limit": STORE_BYTES / 2**20,
        "spilled_mb": gauge.samples[-1]["spilled_mb"],
    }
    for name, value in numbers.items():
        print(f"{name:<22} {value:.6g}")
    write_json(chosen.json, {**numbers, "samples": gauge.samples})


if __name__ == "__main__":
    main()
