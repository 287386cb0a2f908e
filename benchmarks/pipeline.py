"""The Ray pipeline against the sequential loop: the same fusion, in turns, on the same cores.

    python -m benchmarks.pipeline --network resnet20 --size 32 --iterations 4

Both give the same bits. Iterations a second are counted after the first epoch, so neither start-up nor an
empty pipeline counts. `overhead_fraction` is how much more CPU time Ray's processes take for an iteration
than the sequential loop with one thread does.
"""

import contextlib
import os
import statistics
import time
from typing import Any

import psutil
import torch

from benchmarks.common import NO_COLLAPSE, make_settings, make_teachers, parser, print_table, write_json
from fusion.epoch import EpochReport
from orchestrator.cluster import cluster, placed
from orchestrator.distributed import RayEngine
from orchestrator.engines import Engine, Job
from orchestrator.local import LocalEngine
from orchestrator.sections import EngineSettings


class Clock:
    """An observer that notes time, CPU time and memory at the end of every epoch."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.memory: list[float] = []

    def said(self, line: str) -> None:
        """Not of interest."""

    def advanced(self, phase: str, done: int, total: int) -> None:
        """Not of interest."""

    def student(self, weights: Any, iterations: int) -> None:
        """Not of interest."""

    def epoch(self, report: EpochReport) -> None:
        """Called after the warm-up too."""
        family, workers = [], []
        self.wall.append(time.perf_counter())
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # It has ended: an actor of an earlier turn.
                times, memory = process.cpu_times(), process.memory_full_info().uss
                family.append((times.user + times.system, memory))
                if "Worker" in " ".join(process.cmdline()[:1]):
                    workers.append(memory)
        self.cpu.append(sum(seconds for seconds, _ in family))
        self.memory.append(sum(workers or (memory for _, memory in family)) / 2**20)


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--network", default="resnet8")
    options.add_argument("--size", type=int, default=8)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--parties", type=int, default=2)
    options.add_argument("--iterations", type=int, default=40, help="in an epoch; one epoch more goes ahead")
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--memory", action="store_true", help="only Ray: does its memory grow?")
    options.add_argument("--labelling", default="auto", choices=["auto", "student", "parties"])
    given = options.parse_args()
    settings = make_settings(
        given.network,
        given.size,
        given.batch,
        epochs=given.epochs + 1,
        iterations_per_epoch=given.iterations,
    )
    job = Job(
        teachers=make_teachers(given.network, given.size, given.parties),
        settings=settings,
        evaluation=None,
        limits=NO_COLLAPSE,
    )
    cores = len(os.sched_getaffinity(0))
    engine = EngineSettings(labelling=given.labelling)
    names = {} if given.memory else {"one thread": 1, f"{cores} threads": cores}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in (*names, "ray")}
    memory: list[list[float]] = []
    with cluster(engine), placed(given.parties, engine, print) as (plan, group):
        for _ in range(given.repeats):
            for name, threads in names.items():
                results[name].append(_measure(LocalEngine(threads), job, given.iterations, Clock()))
            torch.set_num_threads(1)
            clock = Clock()
            results["ray"].append(_measure(RayEngine(engine, plan, group), job, given.iterations, clock))
            memory.append(clock.memory)
    median = {
        name: {key: statistics.median(one[key] for one in runs) for key in runs[0]}
        for name, runs in results.items()
    }
    what = f"{given.network}, {given.size} px, B = {given.batch}, K = {given.parties}"
    print(f"{what}, {cores} cores, median of {given.repeats}\n")
    print_table(
        ["engine", "iterations/s", "CPU s an iteration", "MiB grown an epoch"],
        [[name, *row.values()] for name, row in median.items()],
    )
    numbers: dict[str, Any] = {"what": what, "cores": cores, "engines": results}
    if given.memory:
        for one in memory:
            print(f"\nMiB after the warm-up and each epoch: {', '.join(f'{mib:.0f}' for mib in one)}")
        numbers["memory_mib"] = memory
    else:
        numbers |= _compare(median, list(names))
    write_json(given.json, numbers)


def _compare(median: dict[str, dict[str, float]], names: list[str]) -> dict[str, float]:
    best = max(median[name]["iterations_per_s"] for name in names)
    ratio = median["ray"]["iterations_per_s"] / best
    overhead = median["ray"]["cpu_s"] / median["one thread"]["cpu_s"] - 1
    print(f"\nratio to the better sequential loop {ratio:.2f}, overhead of Ray {overhead:.1%} of its compute")
    return {"ratio_to_sequential": ratio, "overhead_fraction": overhead}


def _measure(engine: Engine, job: Job, iterations: int, clock: Clock) -> dict[str, float]:
    engine.fuse(job, clock)
    after_first = slice(-job.settings.schedule.epochs, None)
    wall, cpu, memory = clock.wall[after_first], clock.cpu[after_first], clock.memory[after_first]
    counted = (len(wall) - 1) * iterations
    return {
        "iterations_per_s": counted / (wall[-1] - wall[0]),
        "cpu_s": (cpu[-1] - cpu[0]) / counted,
        "memory_mib_per_epoch": (memory[-1] - memory[0]) / (len(memory) - 1),
    }


if __name__ == "__main__":
    main()
