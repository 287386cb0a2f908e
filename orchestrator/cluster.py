"""A Ray cluster for the time of a run: somebody's, or a private one on this machine."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from orchestrator.errors import UserError
from orchestrator.own_signals import own_signals
from orchestrator.placement import Plan, plan_actors
from orchestrator.sections import EngineSettings
from orchestrator.tracking import first_line
from orchestrator.versions import check_versions

ROOT = Path(__file__).resolve().parent.parent
PRIVATE_OBJECT_STORE_BYTES = 512 * 2**20
WAIT_NOTICE_SECONDS = 10.0
CONNECT_SECONDS = 10.0
LEAST_PATIENCE = 60.0
"""A cluster that has enough may yet be busy."""
TRAIN_PATIENCE = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
"""What tells Ray Train for how long to wait for room for its workers."""


@contextlib.contextmanager
def cluster(engine: EngineSettings) -> Iterator[set[str]]:
    """Within the block Ray is connected: to `engine.address`, a submitted job's cluster, or a private one.
    Gives the ids of somebody's nodes, which run the code of this process.

    Raises:
        UserError: there is no cluster at the address, or a node runs other code.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # Calls that nobody waits for after a stop.
    variables = {"OMP_NUM_THREADS": str(engine.threads)}
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    address = engine.cluster_address
    if address:
        if engine.student_workers > 1 and TRAIN_PATIENCE not in os.environ:
            variables[TRAIN_PATIENCE] = str(max(engine.wait_seconds, LEAST_PATIENCE))
        environment: dict[str, Any] = {"env_vars": variables}
        if (
            "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ
        ):  # A submitted job's working directory has the code.
            environment["py_modules"] = [str(ROOT / name) for name in ("fusion", "actors", "orchestrator")]
        _check_reachable(address)
        try:
            with own_signals():
                ray.init(address=address, runtime_env=environment, **common)
        except (ConnectionError, ValueError, RuntimeError, RayError) as error:
            raise UserError(f"engine.address: no Ray cluster at {address} ({first_line(error)})") from error
    else:
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with own_signals():
            ray.init(
                address="local",
                # Ray Train's clean-up asks the dashboard.
                include_dashboard=engine.student_workers > 1,
                object_store_memory=PRIVATE_OBJECT_STORE_BYTES,
                runtime_env={"env_vars": variables},
                **common,
            )
    try:
        yield check_versions() if address else set()
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself retries for minutes before it says that nobody answers."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # 'auto' and the like are Ray's to resolve.
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"engine.address: no Ray cluster at {address} ({error})") from error


@contextlib.contextmanager
def placed(
    num_parties: int, engine: EngineSettings, say: Callable[[str], None], checked: Collection[str] = ()
) -> Iterator[tuple[Plan, PlacementGroup]]:
    """Within the block a placement group holds what the run needs; `say` hears what is being waited for.
    `checked` nodes are known to run this code.

    Raises:
        UserError: the cluster did not come to have it in time, or a node that came meanwhile runs other code.
        A private cluster cannot grow, so it is not waited for.
    """
    total = ray.cluster_resources()
    plan = plan_actors(num_parties, engine, total.get("CPU", 0.0), total.get("GPU", 0.0))
    check_workers(plan, total.get("GPU", 0.0))
    patience = engine.wait_seconds if engine.cluster_address else 0.0
    fits = not shortage(plan, total.get("CPU", 0.0), total.get("GPU", 0.0))
    if not fits and patience == 0.0:
        raise UserError(f"{_shortage_now(plan)}; a private cluster cannot grow, so this is not waited for")
    with _reserved(plan.bundles, engine.placement) as group:
        with contextlib.ExitStack() as stack:
            groups = [group]
            if plan.workers:  # So that there is room when Ray Train, after the warm-up, asks for the same.
                groups.append(stack.enter_context(_reserved(plan.workers, "PACK")))
            _wait(groups, plan, patience if not fits else max(patience, LEAST_PATIENCE), say)
        if engine.cluster_address:
            check_versions(checked)
        yield plan, group


@contextlib.contextmanager
def _reserved(bundles: list[dict[str, float]], strategy: str) -> Iterator[PlacementGroup]:
    group = placement_group(bundles, strategy=strategy)
    try:
        yield group
    except KeyboardInterrupt:
        raise  # Ray may be gone already; the group ends with the driver.
    except BaseException:
        remove_placement_group(group)
        raise
    remove_placement_group(group)


def check_workers(plan: Plan, gpus: float) -> None:
    """Workers that are to average their gradients cannot share a GPU."""
    workers, share = len(plan.students), plan.students[0]
    if workers > 1 and 0 < share.gpus < 1:
        raise UserError(
            f"engine.student_workers: {workers} workers need a GPU each and the parties one more (or none: "
            f"engine.gpus_per_party=0); the cluster has {gpus:g}"
        )


def _wait(groups: list[PlacementGroup], plan: Plan, patience: float, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + patience
    notice = 2.0
    for group in groups:
        while not group.wait(min(notice, max(deadline - time.monotonic(), 0.1))):
            left = deadline - time.monotonic()
            if left <= 0:
                raise UserError(
                    f"{_shortage_now(plan)}; it did not within {patience:.0f} s (engine.wait_seconds)"
                )
            say(f"{_shortage_now(plan)}; waiting up to {left:.0f} s for more")
            notice = WAIT_NOTICE_SECONDS


def shortage(plan: Plan, cpus: float, gpus: float) -> str:
    """What a cluster lacks that has so much; empty: nothing."""
    return "" if plan.gpus <= gpus and plan.cpus <= cpus else _needs(plan, cpus, gpus)


def _shortage_now(plan: Plan) -> str:
    has = ray.cluster_resources()
    return _needs(plan, has.get("CPU", 0.0), has.get("GPU", 0.0))


def _needs(plan: Plan, cpus: float, gpus: float) -> str:
    workers = len(plan.students)
    student = "the student" if workers == 1 else f"the student's {workers} workers"
    return (
        f"{_too_much(plan, gpus)}: {student} and {plan.num_parties} parties need {plan.gpus:g} GPUs and "
        f"{plan.cpus:g} CPUs, the cluster has {gpus:g} GPUs and {cpus:g} CPUs"
    )


def _too_much(plan: Plan, gpus: float) -> str:
    """The option that asks for what is not there."""
    if plan.gpus <= gpus:
        return "engine.placement"
    if sum(share.gpus for share in plan.students) <= gpus:
        return "engine.gpus_per_party"
    return "engine.student_gpus" if plan.students[0].gpus > gpus else "engine.student_workers"
