"""K = 1 .. 8 parties on this machine against the model of a run, and what the model says of more.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --costs COSTS.json --devices 2 9 101

First the costs of the parts are measured, one thread each, with every core at it. The model,
`orchestrator.costs`, turns them into iterations a second; real runs on Ray say how far it is off.
`efficiency` of a real run is the CPU work that the parts need, over the cores' time that the run took. Then
the same model, with a device for the student and the others for the parties, for up to 10,000 parties; there
`efficiency` is weak scaling: an iteration of one party over an iteration of K. A batch has an image of every
party, so beyond K = B the model takes batches of K, and all work grows with them.
"""

import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import (
    NO_COLLAPSE,
    make_settings,
    make_teachers,
    parser,
    print_table,
    student_costs,
    write_json,
)
from benchmarks.pipeline import Clock
from fusion.assembly import build_party, build_student
from fusion.labelling import label
from orchestrator.cluster import cluster, placed
from orchestrator.costs import STORE_BYTES, Labelling, Seconds, count, iteration_seconds, lanes
from orchestrator.distributed import RayEngine
from orchestrator.engines import Job
from orchestrator.sections import EngineSettings

PARTIES = (1, 2, 4, 8)
TEACHERS = 8
"""Asked in a step of the student that is measured beside one with a single teacher."""
MANY = (1, 2, 4, 8, 16, 32, 100, 1000, 10_000)


def main() -> None:
    """Print both tables."""
    options = parser(__doc__)
    options.add_argument("--network", default="resnet8")
    options.add_argument("--size", type=int, default=8)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--iterations", type=int, default=30)
    options.add_argument("--devices", type=int, nargs="+", default=[], help="default: K + 1")
    options.add_argument("--costs", type=Path, help="costs that were measured elsewhere (benchmarks.gpu)")
    options.add_argument("--measure", action="store_true", help="print the costs as JSON, and no more")
    given = options.parse_args()
    if given.measure:
        print(json.dumps(measure(given.network, given.size, given.batch)))
        return
    if given.costs is not None:
        measured: dict[str, float] = json.loads(given.costs.read_text())["costs"]
        real: list[dict[str, Any]] = []
    else:
        measured = measure_loaded(given.network, given.size, given.batch)
        real = run_for_real(given, measured)
    simulated = simulate(measured, given.devices)
    write_json(given.json, {"costs": measured, "scaling": real, "simulated": simulated})


def measure_loaded(network: str, size: int, batch: int) -> dict[str, float]:
    """`measure` in as many processes at once as there are cores: cores that share caches slow each other."""
    command = [sys.executable, "-m", "benchmarks.scaling", "--measure", "--network", network]
    command += ["--size", str(size), "--batch", str(batch)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for _ in range(len(os.sched_getaffinity(0)))
    ]
    found = [json.loads(process.communicate()[0]) for process in running]
    return {name: statistics.fmean(one[name] for one in found) for name in found[0]}


def measure(network: str, size: int, batch: int, least: float = 10.0) -> dict[str, float]:
    """CPU seconds an iteration of one party, of its images, of one teacher's labels, of the student and of
    each teacher that it asks (`asking`); the parts in turn, as they come in a run, not each in a loop of its
    own that leaves it warm caches."""
    torch.set_num_threads(1)
    settings = make_settings(network, size, batch)
    teachers = make_teachers(network, size, min(TEACHERS, batch))
    party = build_party(0, 1, teachers[0], settings, torch.device("cpu"))
    student = build_student(teachers, settings, torch.device("cpu"))
    spent = dict.fromkeys(("party", "images", "label", "look", "one", "all"), 0.0)
    iterations, began = 0, time.process_time()
    while iterations < 2 or time.process_time() - began < least:
        if iterations == 1:  # The first one is slower and does not count.
            spent, began = dict.fromkeys(spent, 0.0), time.process_time()
        clock = Stopwatch(spent)
        party.begin_iteration(0)
        student.begin_iteration(0)
        party.update_generator()
        for _ in range(settings.schedule.m_ga):
            party.update_assistant()
        clock.lap("party")
        unions = [party.synthesize() for _ in range(settings.schedule.m_s)]
        clock.lap("images")
        view = student.view(0)
        for union in unions:
            images, _ = view.look(union)
            clock.lap("look")
            said = label(student.teachers[0], images, settings.compute)
            clock.lap("label")
            student.learn(images, {0: said})
            clock.lap("one")
            student.learn(images, dict.fromkeys(range(len(teachers)), said))
            clock.lap("all")
        party.meter.take()
        student.meter.take()
        clock.lap("look")
        iterations += 1
    counted = count(settings, teachers[0].spec, [network])
    took = {name: seconds / (iterations - 1) for name, seconds in spent.items()}
    return {
        **{name: took[name] for name in ("party", "images", "label")},
        **student_costs(took["look"], took["one"], took["all"], len(teachers)),
        "image_way": counted.image_bytes / STORE_BYTES,
        "label_way": counted.label_bytes[0] / STORE_BYTES,
        "batch": float(batch),
    }


class Stopwatch:
    """Adds the CPU time between two laps to the part that the second one names."""

    def __init__(self, spent: dict[str, float]) -> None:
        self._spent = spent
        self._last = time.process_time()

    def lap(self, part: str) -> None:
        """`part` is over."""
        now = time.process_time()
        self._spent[part] += now - self._last
        self._last = now


def model(measured: dict[str, float], parties: int) -> Seconds:
    """The costs of a run of K like parties: each gives a K-th of the union's images. With more parties than
    images in a batch the batch has K images, and costs so much more."""
    grown = max(1.0, parties / measured["batch"])
    costs = {name: grown * seconds for name, seconds in measured.items() if name != "batch"}
    return Seconds(
        party=(costs["party"] + costs["images"] / parties,) * parties,
        label=(costs["label"],) * parties,
        student=costs["student"],
        asking=(costs["asking"],) * parties,
        images=costs["image_way"],
        labels=(costs["label_way"],) * parties,
    )


def run_for_real(given: Any, measured: dict[str, float]) -> list[dict[str, Any]]:
    """Real runs beside the model's prediction."""
    cores = len(os.sched_getaffinity(0))
    rows: list[dict[str, Any]] = []
    engine = EngineSettings()
    with cluster(engine):
        for parties in PARTIES:
            for labelling in ("student", "parties"):
                chosen = engine.model_copy(update={"labelling": labelling})
                settings = make_settings(
                    given.network, given.size, given.batch, epochs=2, iterations_per_epoch=given.iterations
                )
                teachers = make_teachers(given.network, given.size, parties)
                clock = Clock()
                with placed(parties, chosen, print) as (plan, group):
                    job = Job(teachers=teachers, settings=settings, evaluation=None, limits=NO_COLLAPSE)
                    RayEngine(chosen, plan, group).fuse(job, clock)
                    members = [one.members for one in plan.groups]
                rate = given.iterations / (clock.wall[-1] - clock.wall[-2])
                work = lanes(model(measured, parties), members, labelling)  # type: ignore[arg-type]
                rows.append(
                    {
                        "parties": parties,
                        "labelling": labelling,
                        "iterations_per_s": rate,
                        "predicted": 1 / iteration_seconds(work, cores),
                        "efficiency": sum(work) * rate / cores,
                    }
                )
                time.sleep(1.0)
    print(f"{given.network}, {given.size} px, B = {given.batch}, {cores} cores\n")
    head = ["K", "labelling", "iterations/s", "model", "off by", "efficiency"]
    print_table(
        head,
        [
            [
                row["parties"],
                row["labelling"],
                row["iterations_per_s"],
                row["predicted"],
                f"{row['predicted'] / row['iterations_per_s'] - 1:+.0%}",
                row["efficiency"],
            ]
            for row in rows
        ],
    )
    return rows


def simulate(measured: dict[str, float], devices: list[int]) -> list[dict[str, Any]]:
    """Iterations a second for many parties, by the model alone."""
    rows: list[dict[str, Any]] = []
    for total in devices or [0]:
        for parties in MANY:
            devices_now = total or parties + 1
            at_student = _period(measured, parties, devices_now, "student", None)
            at_parties = _period(measured, parties, devices_now, "parties", None)
            rows.append(
                {
                    "parties": parties,
                    "devices": devices_now,
                    "batch": max(int(measured["batch"]), parties),
                    "student": 1 / at_student,
                    "by_parties": 1 / at_parties,
                    "efficiency": _period(measured, 1, 2, "parties", None) / at_parties,
                    "some": 1 / _period(measured, parties, devices_now, "parties", 4),
                }
            )
    print("\nmodel: iterations/s by labelling; weak scaling of 'parties'; 4 teachers a batch\n")
    print_table(
        ["K", "devices", "B", "student", "parties", "efficiency", "parties, 4 a batch"],
        [list(row.values()) for row in rows],
    )
    return rows


def _period(
    measured: dict[str, float], parties: int, devices: int, labelling: Labelling, asked: int | None
) -> float:
    time_of = model(measured, parties)
    if asked is not None:
        time_of = dataclasses.replace(time_of, asked=min(asked, parties) / parties)
    hosts = max(1, min(parties, devices - 1))
    edges = [index * parties // hosts for index in range(hosts + 1)]
    groups = [range(first, stop) for first, stop in itertools.pairwise(edges)]
    work = lanes(time_of, groups, labelling)
    return iteration_seconds(work, min(devices, len(work)))


if __name__ == "__main__":
    main()
