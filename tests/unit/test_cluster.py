"""A run waits until a cluster has what it needs, and looks at what came; the cluster is a stand-in here."""

from collections.abc import Collection
from typing import Any

import pytest

from orchestrator import cluster
from orchestrator.cluster import placed
from orchestrator.errors import UserError
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

    def wait(self, _seconds: float) -> bool:
        self._patience -= 1
        return self._patience < 0


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


def test_the_nodes_of_a_private_cluster_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    known = use(Growing({"CPU": 8.0}), monkeypatch)
    with placed(2, EngineSettings(), print):
        assert known == []
