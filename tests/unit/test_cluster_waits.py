"""A run waits until a cluster has what it needs, and looks at what came; the cluster is a stand-in here."""

from collections.abc import Collection
from typing import Any
from unittest.mock import Mock

import pytest

from orchestrator import cluster
from orchestrator.cluster import placed, shortage
from orchestrator.errors import UserError
from orchestrator.placement import plan_actors
from orchestrator.sections import EngineSettings


class Growing:
    """A cluster that has room for a group once it was asked about it so often."""

    def __init__(self, resources: dict[str, float], patience: int = 0) -> None:
        self._resources, self._patience = resources, patience
        self.held: list[Group] = []
        self.all: list[Group] = []

    def cluster_resources(self) -> dict[str, float]:
        return self._resources

    def placement_group(self, bundles: list[dict[str, float]], strategy: str) -> "Group":
        group = Group(bundles, strategy, self._patience)
        self.held.append(group)
        self.all.append(group)
        return group


class Group:
    def __init__(self, bundles: list[dict[str, float]], strategy: str, patience: int) -> None:
        self.bundles, self.strategy, self._patience = bundles, strategy, patience
        self.asked_for = 0

    def wait(self, _seconds: float) -> bool:
        self.asked_for += 1
        return self.asked_for > self._patience


def use(growing: Growing, monkeypatch: pytest.MonkeyPatch) -> list[Collection[str]]:
    """Returns what `check_versions` is told to be known, call by call."""
    known: list[Collection[str]] = []
    monkeypatch.setattr(cluster, "ray", growing)
    monkeypatch.setattr(cluster, "placement_group", growing.placement_group)
    monkeypatch.setattr(cluster, "remove_placement_group", growing.held.remove)
    monkeypatch.setattr(cluster, "check_versions", lambda checked=(): known.append(checked))
    return known


def test_nodes_that_came_while_somebodys_cluster_was_waited_for_are_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    growing, said = Growing({"CPU": 1.0}, patience=2), list[str]()
    known = use(growing, monkeypatch)
    engine = EngineSettings(address="h:1", gpus_per_party=1.0)
    with placed(2, engine, said.append, {"a"}) as (_, group):
        assert known == [{"a"}]
        assert growing.held == [group]
    assert growing.held == []
    assert len(said) == 2


def test_a_node_that_came_with_other_code_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    growing = Growing({"CPU": 8.0})
    use(growing, monkeypatch)

    def refuse(_: Any) -> None:
        raise UserError("engine.address: other code")

    monkeypatch.setattr(cluster, "check_versions", refuse)
    with pytest.raises(UserError, match="other code"), placed(2, EngineSettings(address="h:1"), print):
        pytest.fail("it was placed")
    assert growing.held == []


def test_room_for_several_workers_of_the_student_is_waited_for_and_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    growing, said = Growing({"CPU": 4.0}, patience=1), list[str]()
    use(growing, monkeypatch)
    engine = EngineSettings(address="h:1", student_workers=2, student_gpus=1.0, gpus_per_party=1.0)
    with placed(1, engine, said.append) as (_, group):
        parties, workers = growing.all
        assert (parties, growing.held) == (group, [group])
        assert parties.bundles == [{"CPU": 1.0, "GPU": 1.0}]
        assert workers.bundles == [{"CPU": 1.0, "GPU": 1.0}] * 2
        assert workers.asked_for == parties.asked_for == 2
    assert [line.partition("; waiting")[0] for line in said] == [
        "engine.student_gpus: the student's 2 workers and 1 parties need 3 GPUs and 3 CPUs, the cluster "
        "has 0 GPUs and 4 CPUs"
    ] * 2


def test_nothing_is_held_of_a_cluster_without_room_for_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    growing = Growing({"CPU": 4.0}, patience=10**9)
    use(growing, monkeypatch)
    engine = EngineSettings(address="h:1", student_workers=2, student_gpus=1.0, wait_seconds=1e-9)
    with pytest.raises(UserError, match=r"engine\.wait_seconds"), placed(1, engine, print):
        pytest.fail("it was placed")
    assert (len(growing.all), growing.held) == (2, [])


@pytest.mark.parametrize(
    ("workers", "given", "wait", "expected"),
    [(2, None, 900.0, "900.0"), (2, None, 5.0, "60.0"), (1, None, 900.0, None), (2, "7", 900.0, None)],
)
def test_ray_train_waits_for_its_workers_as_long_as_a_run_does(
    workers: int, given: str | None, wait: float, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.train.v2._internal.constants import (
        ENV_VARS_TO_PROPAGATE,
        WORKER_GROUP_START_TIMEOUT_S_ENV_VAR,
    )

    monkeypatch.delenv(WORKER_GROUP_START_TIMEOUT_S_ENV_VAR, raising=False)
    if given is not None:  # A submitted job has the variables of its runtime environment.
        monkeypatch.setenv(WORKER_GROUP_START_TIMEOUT_S_ENV_VAR, given)
    ray = Mock()
    use(Growing({}), monkeypatch)
    monkeypatch.setattr(cluster, "ray", ray)
    with cluster.cluster(EngineSettings(address="auto", student_workers=workers, wait_seconds=wait)):
        pass
    told = ray.init.call_args.kwargs["runtime_env"]["env_vars"]
    assert told.get(WORKER_GROUP_START_TIMEOUT_S_ENV_VAR) == expected
    assert (
        WORKER_GROUP_START_TIMEOUT_S_ENV_VAR in ENV_VARS_TO_PROPAGATE
    )  # From `train` to the one that waits.


@pytest.mark.parametrize(
    ("engine", "key"),
    [
        ({"gpus_per_party": 1.0, "student_gpus": 1.0}, "engine.gpus_per_party"),
        ({"student_gpus": 3.0}, "engine.student_gpus"),
        ({"student_workers": 3, "student_gpus": 1.0}, "engine.student_workers"),
        ({"student_workers": 3, "student_gpus": 4.0}, "engine.student_gpus"),
        ({"student_workers": 2, "student_gpus": 1.0, "gpus_per_party": 0.5}, "engine.gpus_per_party"),
    ],
)
def test_what_is_too_much_is_named(engine: dict[str, Any], key: str) -> None:
    plan = plan_actors(2, EngineSettings(**engine), 16, 2)
    assert shortage(plan, 16, 2).startswith(f"{key}: ")


def test_the_nodes_of_a_private_cluster_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    known = use(Growing({"CPU": 8.0}), monkeypatch)
    with placed(2, EngineSettings(), print):
        assert known == []
