"""Whether all nodes of a cluster run the same code."""

import hashlib
import platform
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import actors
import fusion
import orchestrator
from orchestrator.errors import UserError

DECIDES_BITS = ("torch", "torchvision", "numpy", "ray")
NODE_SECONDS = 60.0


def versions() -> dict[str, str]:
    """What runs in this process: Python, the libraries that a result depends on, and a hash of our own
    code."""
    found = {"python": platform.python_version()}
    for name in DECIDES_BITS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    digest = hashlib.sha256()
    for package in (fusion, actors, orchestrator):  # Each may have been sent to a folder of its own.
        folder = Path(package.__path__[0])
        for file in sorted(folder.rglob("*.py")):
            digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return found | {"dfmf": digest.hexdigest()[:12]}


def differences(here: Mapping[str, str], nodes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line for every node and version that is not the one of this process."""
    return [
        f"node {node} has {name} {theirs.get(name, 'missing')}, the driver {mine}"
        for node, theirs in nodes.items()
        for name, mine in here.items()
        if theirs.get(name) != mine
    ]


def check_versions(known: Collection[str] = ()) -> set[str]:
    """Ask every living node whose id is not `known`, and return their ids; an actor on a node with other
    versions would give other bits, or break later.

    Raises:
        UserError: a node differs, does not answer, or cannot run this code.
    """
    ask = ray.remote(num_cpus=0, max_retries=0)(versions)
    alive = {str(node["NodeID"]): str(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]}
    addresses = {node: address for node, address in alive.items() if node not in known}
    if not addresses:
        return set()
    calls = {
        node: ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node in addresses
    }
    _, silent = ray.wait(list(calls.values()), num_returns=len(calls), timeout=NODE_SECONDS)
    quiet = [addresses[node] for node, call in calls.items() if call in silent]
    if quiet:
        raise UserError(f"engine.address: no answer from {', '.join(quiet)} within {NODE_SECONDS:.0f} s")
    here, wrong = versions(), []
    for node, call in calls.items():
        address = addresses[node]
        try:
            wrong += differences(here, {address: ray.get(call)})
        except RayError as error:  # Such as a node without torch, on which this cannot even be imported.
            last = str(error).strip().splitlines()[-1]
            raise UserError(f"engine.address: node {address} cannot run this code ({last})") from error
    if wrong:
        raise UserError("engine.address: " + "; ".join(wrong))
    return set(calls)
