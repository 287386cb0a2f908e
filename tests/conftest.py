"""What the tests share: one thread (bits depend on it), tiny teachers, and one Ray cluster for all that need
it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
torch.set_num_threads(1)

CIFAR = Path(__file__).parents[2] / "shared" / "data" / "cifar10"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    assert torch.get_num_threads() == 1


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    from orchestrator.cluster import cluster
    from orchestrator.sections import EngineSettings

    with cluster(EngineSettings()):
        yield


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A study's trials are the test's to run: nothing is started, and nothing is placed."""
    from tests.paper_tables import without_cluster

    without_cluster(monkeypatch)
    return monkeypatch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, then those with Ray, then the slow ones."""
    items.sort(
        key=lambda item: (
            "slow" in item.keywords,
            "ray" in item.keywords,
            item.path.parent.name in ("integration", "faults"),
        )
    )
