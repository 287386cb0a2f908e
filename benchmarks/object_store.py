"""How full the object store is, and what it spilled."""

import re

import ray
from ray._private.internal_api import memory_summary


def object_store_mb() -> tuple[float, float]:
    """MiB in the object stores of the cluster, and MiB that they have spilled since it began."""
    text = memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)
    used, spilled = re.search(r"Plasma memory usage (\d+)", text), re.search(r"Spilled (\d+) MiB", text)
    return float(used[1]) if used else 0.0, float(spilled[1]) if spilled else 0.0
