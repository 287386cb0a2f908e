"""What a run would do: its configuration, where everything would be placed, and what that would cost."""

import dataclasses
import os
from collections.abc import Sequence

import torch

from fusion.assembly import student_spec
from fusion.networks import ImageSpec
from fusion.teachers import TeacherCard
from orchestrator.config import RunConfig
from orchestrator.costs import Costs
from orchestrator.errors import UserError
from orchestrator.estimate import PROCESS_BYTES, estimate, measured_flops_per_second
from orchestrator.label_spaces import check_classes, class_lines
from orchestrator.loading import dump_config
from orchestrator.method_check import check_method
from orchestrator.network_check import check_networks
from orchestrator.placement import Plan, plan_actors
from orchestrator.running import resolve
from orchestrator.sections import EngineSettings
from orchestrator.speed import Hardware, faster_labelling, period, warmup_seconds
from orchestrator.teachers import check_data, lessons, read_data, read_teachers
from orchestrator.transfer import check_sources


def describe(run: str, overrides: Sequence[str]) -> str:
    """The text that ``dfmf fuse --dry-run`` prints; checks the teachers and the data as a run would.

    Raises:
        UserError: what a run would refuse.
    """
    config, _ = resolve(run, overrides)
    found = subject(config)
    names = found.parties
    cpus, gpus, where = _resources(config)
    plan = plan_actors(len(names), config.engine, cpus, gpus)
    classes = ["# classes", "\n".join(found.notes) + "\n"] if found.notes else []
    sections = [
        "# configuration",
        dump_config(config),
        *classes,
        f"# placement on {where}: {cpus:g} CPUs, {gpus:g} GPUs",
        _placement(plan, names, config.engine.mode) + _shortage(plan, config.engine, cpus, gpus),
        "# cost of the fusion (pretraining not counted)",
        _cost(config, found.spec, found.networks, plan, cpus),
    ]
    return "\n".join(sections)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is fused."""

    spec: ImageSpec
    """The student's images and classes."""
    parties: list[str]
    networks: list[str]
    """The teachers'."""
    notes: list[str]
    """What a run says of the teachers' classes and of those of the evaluation images."""


def subject(config: RunConfig) -> Subject:
    """What `config` fuses; reads the teachers and the data.

    Raises:
        UserError: what a run would refuse of them.
    """
    data = read_data(config)
    if config.teachers is not None:
        cards: Sequence[TeacherCard] = read_teachers(config)
    else:
        assert data is not None
        cards = [one.card for one in lessons(config, data[0])[: config.num_parties]]
    space = check_classes(config, cards)
    check_networks(config, cards)
    check_method(config, cards, space)
    check_sources(config)
    test = None if data is None else check_data(cards, space, data[1])
    return Subject(
        spec=student_spec(cards, config.classes),
        parties=[one.name for one in cards],
        networks=[one.network for one in cards],
        notes=class_lines(space, cards, test),
    )


def _resources(config: RunConfig) -> tuple[float, float, str]:
    address = config.engine.cluster_address
    if config.engine.mode == "local" or not address:
        return float(len(os.sched_getaffinity(0))), float(torch.cuda.device_count()), "this machine"
    import ray

    from orchestrator.cluster import cluster

    with cluster(config.engine):
        total = ray.cluster_resources()
    return total.get("CPU", 0.0), total.get("GPU", 0.0), f"the cluster at {address}"


def _placement(plan: Plan, names: list[str], mode: str) -> str:
    if mode == "local":
        return "everything in one process\n"
    rows = [
        ("student" if len(plan.students) == 1 else f"student worker {rank}", share)
        for rank, share in enumerate(plan.students)
    ]
    for group in plan.groups:
        word = "party" if len(group.members) == 1 else "parties"
        rows.append((f"{word} {', '.join(names[index] for index in group.members)}", group.share))
    width = max(24, *(len(who) + 2 for who, _ in rows))
    lines = [f"{who:<{width}}{share.device:<5} {share.cpus:g} CPU, {share.gpus:g} GPU" for who, share in rows]
    return "\n".join(lines) + "\n"


def _shortage(plan: Plan, engine: EngineSettings, cpus: float, gpus: float) -> str:
    """What a run would be refused for, or wait for, in a line."""
    if engine.mode == "local":
        return ""
    from orchestrator.cluster import check_workers, shortage

    try:
        check_workers(plan, gpus)
    except UserError as error:
        return f"a run would be refused: {error}\n"
    lacking = shortage(plan, cpus, gpus)
    if not lacking:
        return ""
    if engine.cluster_address:
        return f"a run would wait for more, up to {engine.wait_seconds:.0f} s: {lacking}\n"
    return f"a run would be refused: {lacking}\n"


def _cost(config: RunConfig, spec: ImageSpec, networks: list[str], plan: Plan, cpus: float) -> str:
    numbers = estimate(config, spec, networks)
    where = _in_one_process if config.engine.mode == "local" else _on_lanes
    costs = numbers.costs
    return "\n".join(
        [
            f"operations      {numbers.total_flops:.2e} FLOP: {config.schedule.iterations} iterations of "
            f"{max(costs.party_flops):.2e} a party, {costs.student_flops:.2e} for the student and "
            f"{max(costs.label_flops):.2e} for each teacher that labels, and the warm-up",
            f"memory          about {_size(numbers.party_bytes)} a party, {_size(numbers.student_bytes)} "
            f"for the student, besides what a process itself takes (about {PROCESS_BYTES / 2**20:.0f} MiB)",
            *where(config, spec, costs, plan, cpus),
        ]
    )


def _in_one_process(config: RunConfig, spec: ImageSpec, costs: Costs, _plan: Plan, _cpus: float) -> list[str]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rate = _measured(config, spec, device)
    flops = sum(costs.warmup_flops) + config.schedule.iterations * costs.total_flops
    return [
        f"images          {_size(costs.image_bytes)} an iteration, in this process",
        "labelling       in this process too",
        f"time            roughly {_duration(flops / rate)} at {rate / 1e9:.1f} GFLOP/s on a {device} "
        "(measured here, just now)",
    ]


def _on_lanes(config: RunConfig, spec: ImageSpec, costs: Costs, plan: Plan, cpus: float) -> list[str]:
    engine, lag = config.engine, config.method.lag
    labelling = faster_labelling(costs, plan, engine) if engine.labelling == "auto" else engine.labelling
    hardware = Hardware(cpu_rate=1.0, cpu_lanes=max(1.0, cpus / engine.threads))
    rates = []
    if any(share.gpus == 0 for share in plan.shares):
        hardware = dataclasses.replace(hardware, cpu_rate=_measured(config, spec, "cpu"))
        rates.append(f"{hardware.cpu_rate / 1e9:.1f} GFLOP/s a cpu lane (measured here, just now)")
    if plan.gpus > 0 and torch.cuda.is_available():
        hardware = dataclasses.replace(hardware, gpu_rate=_measured(config, spec, "cuda"))
        rates.append(f"{hardware.gpu_rate / 1e9:.1f} GFLOP/s a GPU (measured here, just now)")
    elif plan.gpus > 0:
        rates.append(f"{hardware.gpu_rate / 1e9:.1f} GFLOP/s a GPU (supposed: there is none here to measure)")
    total = warmup_seconds(costs, plan, hardware)
    total += config.schedule.iterations * period(costs, plan, hardware, labelling)
    return [
        f"images          {_size(costs.image_bytes)} an iteration through the object store, "
        f"{1 + (engine.prefetch if lag is None else lag)} iterations in flight",
        f"labelling       {labelling}" + (" (chosen)" if engine.labelling == "auto" else ""),
        f"time            roughly {_duration(total)} at {' and '.join(rates)}, {len(plan.shares)} lanes",
    ]


def _measured(config: RunConfig, spec: ImageSpec, device: str) -> float:
    batch, threads = config.schedule.batch_size, config.engine.threads
    return measured_flops_per_second(config.student, spec, torch.device(device), batch, threads)


def _size(count: float) -> str:
    return f"{count / 2**20:,.1f} MiB" if count < 2**30 else f"{count / 2**30:,.1f} GiB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
