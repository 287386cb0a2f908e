"""Connect to Ray as a run does, look around, and print it as JSON: a process of its own, so that whatever Ray
does to a process, and for however long, the doctor lives on. Reads the section `engine` from standard input.
"""

import json
import sys
import time

import ray

from orchestrator.cluster import cluster
from orchestrator.errors import UserError
from orchestrator.sections import EngineSettings
from orchestrator.versions import differences, versions

TASK_SECONDS = 60.0


def main() -> None:
    """Print one line: what was found, or the key `error`."""
    engine = EngineSettings.model_validate_json(sys.stdin.read())
    try:
        found = look(engine)
    except UserError as error:
        found = {"error": str(error)}
    print(json.dumps(found))


def look(engine: EngineSettings) -> dict[str, object]:
    """Start or find the cluster and run a task, which says what code its worker imports."""
    started = time.monotonic()
    with cluster(engine):
        theirs = ray.get(ray.remote(num_cpus=0)(versions).remote(), timeout=TASK_SECONDS)
        seconds = time.monotonic() - started
        total = ray.cluster_resources()
        return {
            "seconds": seconds,
            "nodes": sum(bool(node["Alive"]) for node in ray.nodes()),
            "cpus": total.get("CPU", 0.0),
            "gpus": total.get("GPU", 0.0),
            "ray": theirs["ray"],
            "dashboard": ray.init(ignore_reinit_error=True, logging_level="error").dashboard_url,
            "session": ray.get_runtime_context().get_session_name(),
            "differences": differences(versions(), {"worker": theirs}),
        }


if __name__ == "__main__":
    main()
