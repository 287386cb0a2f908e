"""Faults of actors and of their node, in runs of the Ray engine in this process."""

import contextlib
import dataclasses
import functools
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
import torch

from benchmarks.common import make_settings, make_teachers
from benchmarks.fault_table.row import Case, Row
from benchmarks.injection import Harm, Injector, freeze, kill, kill_newest, processes
from benchmarks.object_store import object_store_mb
from orchestrator.cluster import ROOT, cluster, placed
from orchestrator.distributed import RayEngine
from orchestrator.engines import Fused, Job
from orchestrator.keeper import Keeper
from orchestrator.local import LocalEngine
from orchestrator.sections import EngineSettings

PARTY, STUDENT = "PartyWorker", "StudentWorker"
SETTINGS = make_settings("resnet8", 8, 16, epochs=3, iterations_per_epoch=8, m_ga=2, m_s=3)
SCHEDULE = dataclasses.replace(SETTINGS.schedule, warmup_epochs=3)
JOB = Job(
    teachers=make_teachers("resnet8", 8, 2),
    settings=dataclasses.replace(SETTINGS, schedule=SCHEDULE),
    evaluation=None,
)
Harms = dict[tuple[str, int], Harm]


def tensors(fused: Fused) -> dict[str, torch.Tensor]:
    """Everything that a run leaves."""
    found = {f"student/{name}": one for name, one in {**fused.student, **fused.vids}.items()}
    for index, roles in enumerate(fused.parties):
        for role, state in roles.items():
            found |= {f"{index}/{role}/{name}": one for name, one in state.items()}
    return found


@functools.cache
def undisturbed() -> dict[str, torch.Tensor]:
    """By the sequential engine, which nothing can befall."""
    return tensors(LocalEngine(threads=1).fuse(JOB, Injector({})))


def hit(name: str, harms: Harms, every: int | None = 4, **engine: Any) -> Row:
    """Run, do harm, and compare."""
    expected, injected = undisturbed(), len(harms)
    chosen, injector = EngineSettings(party_actors=2, verify=True, **engine), Injector(harms)
    job = dataclasses.replace(JOB, keeper=Keeper(iterations=every, say=injector.said))
    with placed(2, chosen, injector.said) as (plan, group):
        fused = RayEngine(chosen, plan, group).fuse(job, injector)
    assert not injector.harms, f"{name}: no harm was done"
    found = tensors(fused)
    at = max(
        (
            done
            for when, phase, done in injector.progress
            if when <= injector.injected[0] and phase == "fusion"
        ),
        default=0,
    )
    restored = [int(one) for one in re.findall(r"restored from iteration (\d+)", injector.text())]
    return Row(
        name=name,
        injected=injected,
        ended=1,
        bit_equal=all(torch.equal(one, found[key]) for key, one in expected.items()),
        detect_s=injector.detected(),
        recover_s=injector.recovered(),
        repeated=max(0, at - restored[0]) if restored else None,
        lost=(SCHEDULE.iterations - fused.iterations) * SCHEDULE.m_s,
    )


def hiccups(kind: str, count: int, seconds: float) -> Harm:
    """Stop and continue a process, so that it is slow."""

    def slow() -> None:
        process = processes(kind)[0]
        for _ in range(count):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
                time.sleep(seconds)
                process.resume()
                time.sleep(0.05)

    return lambda: threading.Thread(target=slow, daemon=True).start()


def full_store() -> Harm:
    """Hold more in the object store than it has room for, so that Ray spills to the disk.

    Raises:
        RuntimeError: it did not spill.
    """
    held: list[Any] = []

    def fill() -> None:
        held.extend(ray.put(np.zeros(40 * 2**20, dtype=np.uint8)) for _ in range(16))
        if object_store_mb()[1] == 0:
            raise RuntimeError("nothing was spilled")

    return fill


def short_of_memory() -> Harm:
    """Take memory, and give it back when Ray's memory monitor has killed an actor.

    Raises:
        RuntimeError: it killed nobody.
    """

    def fill() -> None:
        actors, held = [*processes(PARTY), *processes(STUDENT)], []
        while all(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in actors):
            if len(held) == 80:
                raise RuntimeError("the memory monitor killed nobody")
            held.append(b"x" * (100 * 2**20))
            time.sleep(0.05)

    return fill


def on_actors() -> list[Case]:
    """Two parties and a student; a snapshot every four iterations."""
    both: Harms = {("fusion", at): kill(PARTY) for at in (5, 13)}
    thrice: Harms = {("fusion", at): kill_newest(PARTY, 2) for at in (4, 10, 16)}

    def at_once() -> None:
        kill(STUDENT)()
        kill(PARTY)()

    cases: list[tuple[str, Harms, dict[str, Any]]] = [
        ("party killed in the warm-up", {("warm-up", 24): kill(PARTY)}, {}),
        ("party killed in the main phase", {("fusion", 9): kill(PARTY)}, {}),
        ("party killed before any snapshot", {("warm-up", 8): kill(PARTY)}, {"every": None}),
        ("party killed that labels for the student", {("fusion", 9): kill(PARTY)}, {"labelling": "parties"}),
        ("party killed three times", thrice, {}),
        ("both parties killed, one after the other", both, {"prefetch": 3}),
        ("student killed", {("fusion", 13): kill(STUDENT)}, {}),
        ("student killed before its first snapshot", {("fusion", 3): kill(STUDENT)}, {"every": None}),
        ("student and a party killed at once", {("fusion", 9): at_once}, {}),
        ("party frozen (limit 3 s)", {("fusion", 9): freeze(PARTY)}, {"silent_seconds": 3.0}),
        ("student frozen (limit 3 s)", {("fusion", 9): freeze(STUDENT)}, {"silent_seconds": 3.0}),
        ("party slow: stopped 5 times for 1 s", {("fusion", 9): hiccups(PARTY, 5, 1.0)}, {}),
        ("object store full, spilling", {("fusion", 3): full_store()}, {}),
    ]
    return [(name, functools.partial(hit, name, harms, **more)) for name, harms, more in cases]


def memory_monitor() -> Case:
    """A cluster whose memory monitor kills when 4 GB more than now are taken, or half of what is left."""
    name = "killed by Ray's memory monitor"

    def run() -> Row:
        memory = psutil.virtual_memory()
        room = min(4 * 2**30, memory.available // 2)
        least = (memory.total - memory.available + room) / memory.total
        variables = {"RAY_memory_usage_threshold": f"{least:.4f}", "RAY_memory_monitor_refresh_ms": "100"}
        os.environ.update(variables)
        try:
            with cluster(EngineSettings()):
                return hit(name, {("fusion", 9): short_of_memory()})
        finally:
            for variable in variables:
                del os.environ[variable]

    return name, run


@contextlib.contextmanager
def two_nodes() -> Iterator[Callable[[str], None]]:
    """A cluster whose second node holds the parties; what is given loses it: "notice" as a machine that is
    taken away in order, "kill" without a word, "freeze" as one whose network is cut off."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "resources": {"head": 1}})
    second = made.add_node(num_cpus=4)
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ray.init(
        address=made.address,
        runtime_env={"env_vars": environment},
        log_to_driver=False,
        logging_level="error",
    )
    frozen: list[psutil.Process] = []

    def lose(how: str) -> None:
        if how != "freeze":
            made.remove_node(second, allow_graceful=how == "notice")
            return
        raylet = psutil.Process(second.all_processes["raylet"][0].process.pid)
        frozen.extend([raylet, *raylet.children(recursive=True)])
        for one in frozen:
            one.suspend()

    try:
        yield lose
    finally:
        for one in frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        ray.shutdown()
        made.shutdown()


def on_nodes() -> list[Case]:
    """A node of two goes; its parties go on on the other."""

    def run(name: str, how: str, **engine: Any) -> Row:
        with two_nodes() as lose:
            return hit(name, {("fusion", 9): lambda: lose(how)}, placement="SPREAD", **engine)

    return [
        ("node removed with notice", functools.partial(run, "node removed with notice", "notice")),
        ("node killed without notice", functools.partial(run, "node killed without notice", "kill")),
        (
            "node frozen (limit 5 s)",
            functools.partial(run, "node frozen (limit 5 s)", "freeze", silent_seconds=5.0),
        ),
    ]


def workers_killed() -> Case:
    """A worker of a data-parallel student; compared with an undisturbed run on as many."""
    name = "one of two student workers killed"

    def fuse(injector: Injector) -> dict[str, torch.Tensor]:
        chosen = EngineSettings(student_workers=2, party_actors=1)
        keeper = Keeper(iterations=4, say=injector.said)
        with (
            tempfile.TemporaryDirectory() as folder,
            cluster(chosen),
            placed(2, chosen, injector.said) as (plan, group),
        ):
            job = dataclasses.replace(JOB, keeper=keeper, folder=Path(folder))
            return tensors(RayEngine(chosen, plan, group).fuse(job, injector))

    def run() -> Row:
        expected = fuse(Injector({}))
        injector = Injector({("fusion", 9): kill("RayTrainWorker")})
        found = fuse(injector)
        return Row(
            name=name,
            injected=1,
            ended=1,
            bit_equal=all(torch.equal(one, found[key]) for key, one in expected.items()),
            detect_s=injector.detected(),
            recover_s=injector.recovered(),
        )

    return name, run
