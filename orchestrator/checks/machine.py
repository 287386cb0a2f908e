"""This machine: GPUs, CPUs, memory, open files, home."""

import os
import resource
from importlib.metadata import version
from pathlib import Path

import torch

from fusion.networks import ImageSpec
from orchestrator.checks.finding import Finding
from orchestrator.cluster import PRIVATE_OBJECT_STORE_BYTES
from orchestrator.config import RunConfig
from orchestrator.estimate import PROCESS_BYTES, estimate
from orchestrator.placement import Plan, plan_actors

CGROUP = Path("/sys/fs/cgroup")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
FEW_OPEN_FILES = 1024
TIGHT = 0.8
"""Share of the memory from which a run is called tight."""
TOKEN_BY_DEFAULT = (2, 59)
"""The first version of Ray that gives a private cluster a token, which it keeps in the home folder."""


def gpus() -> Finding:
    """What PyTorch computes on."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        names = ", ".join(sorted({torch.cuda.get_device_name(index) for index in range(count)}))
        return Finding("gpus", "ok", f"{count} ({names})")
    if NVIDIA_DRIVER.exists():
        if torch.version.cuda is None:
            says = f"the machine has an NVIDIA driver, but torch {torch.__version__} was built without CUDA"
            return Finding("gpus", "warning", says, "install a torch that was built with CUDA")
        if os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
            says = f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r} hides all of them"
            return Finding("gpus", "warning", says, "unset CUDA_VISIBLE_DEVICES, unless that is meant")
        says = f"the machine has an NVIDIA driver, but torch with CUDA {torch.version.cuda} cannot use it"
        return Finding("gpus", "warning", says, "update the driver, or install a torch for an older CUDA")
    return Finding("gpus", "ok", "none; everything runs on CPUs: fine for digits, slow for anything larger")


def cpus(config: RunConfig) -> Finding:
    """The run's threads against the processors that this process may use."""
    if config.engine.mode == "ray" and config.engine.cluster_address:
        return _elsewhere("cpus", config)
    allowed = available_cpus()
    processes = 1 if config.engine.mode == "local" else len(_plan(config).shares)
    threads = processes * config.engine.threads
    says = f"{allowed:g} for {threads} threads ({_count(processes)}, engine.threads {config.engine.threads})"
    if threads > allowed and config.engine.threads > 1:
        return Finding("cpus", "warning", f"{says}: they will wait for each other", "set engine.threads=1")
    return Finding("cpus", "ok", f"{says}{': they take turns' if threads > allowed else ''}")


def memory(config: RunConfig, spec: ImageSpec, networks: list[str]) -> Finding:
    """What the run's estimate says against what is free here."""
    if config.engine.mode == "ray" and config.engine.cluster_address:
        return _elsewhere("memory", config)
    numbers = estimate(config, spec, networks)
    plan = None if config.engine.mode == "local" else _plan(config)
    workers = len(plan.students) if plan else 1
    total = numbers.party_bytes * len(networks) + numbers.student_bytes * workers
    if plan:
        party_sites = [group.share for group in plan.groups for _ in group.members]
        on_gpu = sum(numbers.party_bytes for site in party_sites if site.gpus > 0)
        on_gpu += sum(numbers.student_bytes for site in plan.students if site.gpus > 0)
        gpus_used = torch.cuda.device_count()
    else:  # As `LocalEngine` chooses.
        gpus_used = 1 if torch.cuda.is_available() else 0
        on_gpu = total if gpus_used else 0.0
    processes = 1 + len(plan.shares) if plan else 1
    needed = total - on_gpu + processes * PROCESS_BYTES + (PRIVATE_OBJECT_STORE_BYTES if plan else 0)
    free = available_memory()
    says = f"about {_gib(needed)} of {_gib(free)} free ({_count(processes)})"
    mend = "set a smaller schedule.batch_size or generator.width, or engine.party_actors=1"
    if on_gpu and on_gpu > _gpu_bytes(gpus_used):
        says = f"about {_gib(on_gpu)} on GPUs that have {_gib(_gpu_bytes(gpus_used))}"
        return Finding("memory", "problem", says, mend)
    if needed > free:
        return Finding("memory", "problem", says, mend)
    if needed > TIGHT * free:
        return Finding("memory", "warning", says, mend)
    return Finding("memory", "ok", says)


def open_files() -> Finding:
    """The soft limit; Ray opens hundreds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FEW_OPEN_FILES:
        says = f"this shell allows {soft}, Ray wants at least {FEW_OPEN_FILES}"
        higher = f"ulimit -n {FEW_OPEN_FILES} or more"
        mend = higher if hard >= FEW_OPEN_FILES else f"ask the machine's administrator for {higher}"
        return Finding("open files", "warning", says, mend)
    return Finding("open files", "ok", f"{soft} allowed")


def home(config: RunConfig) -> Finding:
    """Ray keeps the token of a private cluster in the home folder."""
    folder = Path.home()
    if os.access(folder, os.W_OK):
        return Finding("home", "ok", f"{folder} is writable")
    needs = config.engine.mode == "ray" and not config.engine.cluster_address
    ray = tuple(int(part) for part in version("ray").split(".")[:2])
    given = any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if needs and ray >= TOKEN_BY_DEFAULT and not given and not (folder / ".ray" / "auth_token").exists():
        says = f"{folder} cannot be written, and Ray wants to keep its token there"
        return Finding("home", "problem", says, "set HOME to a folder that can be written, or RAY_AUTH_TOKEN")
    return Finding("home", "ok", f"{folder} cannot be written; this run does not need it")


def available_cpus() -> float:
    """Processors that this process may use, and no more than its control group allows."""
    allowed = float(len(os.sched_getaffinity(0)))
    words = _read("cpu.max").split() or [_read("cpu/cpu.cfs_quota_us"), _read("cpu/cpu.cfs_period_us")]
    if len(words) == 2 and all(word.isdigit() for word in words):
        allowed = min(allowed, int(words[0]) / int(words[1]))
    return allowed


def available_memory() -> float:
    """Bytes that can still be taken, on the machine and in the control group."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = 1024.0 * int(lines["MemAvailable"].split()[0])
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        if _read(limit).isdigit() and _read(used).isdigit():
            rows = _read(str(Path(limit).with_name("memory.stat"))).splitlines()
            given_back = {name: int(value) for name, value in (row.split() for row in rows)}.get(cache, 0)
            free = min(free, float(int(_read(limit)) - int(_read(used)) + given_back))
    return free


def _plan(config: RunConfig) -> Plan:
    return plan_actors(
        config.num_parties, config.engine, float(os.cpu_count() or 1), float(torch.cuda.device_count())
    )


def _elsewhere(check: str, config: RunConfig) -> Finding:
    return Finding(check, "ok", f"the run's are those of the cluster at {config.engine.cluster_address}")


def _gpu_bytes(count: int) -> int:
    return sum(torch.cuda.get_device_properties(index).total_memory for index in range(count))


def _count(processes: int) -> str:
    return f"{processes} process{'' if processes == 1 else 'es'}"


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"


def _read(name: str) -> str:
    try:
        return (CGROUP / name).read_text().strip()
    except OSError:
        return ""
