"""Where a fused student came from, in MLflow: its teachers as inputs of the run, and its own place in the
registry."""

import json
from pathlib import Path
from typing import Any

from fusion.teachers import load_teacher
from fusion.untrusted import Refused
from orchestrator.flavor import logged_student
from orchestrator.registering import add_version, tags_of
from orchestrator.registry import SCHEME, find, is_registered

KEPT = ("name", "network", "sha256", "source")
MAX_TAG_LENGTH = 5000
"""What the registry's databases take of a tag's value."""


def log_teachers(client: Any, run_id: str, teachers: list[dict[str, Any]]) -> None:
    """Make those of a summary's `teachers` that this registry has, inputs of the run; none becomes one
    twice."""
    from mlflow.entities import LoggedModelInput

    inputs = client.get_run(run_id).inputs
    there = {one.model_id for one in (inputs.model_inputs if inputs else [])}
    for one in teachers:
        try:
            model_id = find(client, one["source"]).model_id if is_registered(one.get("source", "")) else None
        except Refused:  # It has been deleted meanwhile, or came from another registry.
            continue
        if model_id is not None and model_id not in there:
            there.add(model_id)
            client.log_inputs(run_id, models=[LoggedModelInput(model_id)])


def register_student(
    client: Any, run_id: str, folder: Path, name: str, teachers: list[dict[str, Any]]
) -> str:
    """Make the run's logged student the next version of the model `name`, unless it is one; the version's
    URI."""
    for one in client.search_model_versions(f"name = '{name}'"):
        if one.run_id == run_id:
            return f"{SCHEME}{name}/{one.version}"
    weights = folder / "student.safetensors"
    tags = tags_of(load_teacher(weights), weights, "student") | {
        "dfmf.run": run_id,
        "dfmf.teachers": _as_tag(teachers),
    }
    model = logged_student(client, run_id)
    return f"{SCHEME}{name}/{add_version(client, name, model, run_id, tags)}"


def _as_tag(teachers: list[dict[str, Any]]) -> str:
    """As many of them as a tag takes; the run's summary has all."""
    kept = [{key: one[key] for key in KEPT if key in one} for one in teachers]
    while len(text := json.dumps(kept)) > MAX_TAG_LENGTH:
        kept.pop()
    return text
