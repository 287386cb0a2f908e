"""What a run and a checkpoint that it goes on from must have in common: all that decides the result."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusion.methods import Nayer
from fusion.networks import ImageSpec
from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.tracking import flat

FREE = {
    *("name", "output", "data", "teachers", "pretrain"),
    *("engine", "checkpoint", "numerics", "tracking", "audit"),
}
"""Sections that may differ: they decide where the work runs, what is told of it, and what is done afterwards.
The teachers are compared by what they are."""
FORM = "identity"
"""The key of what an identity holds: 2 since each teacher has its place and its input."""
FORMER: Mapping[str, Any] = {"method.name": "dfmf", "generator.layout": "dfq", "compute.tf32": None}
"""What a checkpoint without such a key is of."""

PLACES = {"root", "train", "test"}
"""Of `data`: where it lies."""


def deciding(config: RunConfig) -> dict[str, Any]:
    """What of a configuration decides the result, with one level of keys; of files, none."""
    decides = flat(json.loads(config.model_dump_json(exclude=FREE)))
    decides.pop("method.embeddings", None)
    maps = {
        f"teachers.{index}.label_map": source.label_map
        for index, source in enumerate(config.teachers or ())
        if source.label_map
    }
    return {**decides, "engine.threads": config.engine.threads, **maps}


def pretraining(config: RunConfig) -> dict[str, Any]:
    """What decides the weights of teachers that are pretrained, likewise."""
    exclude = {"pretrain": {"gold_standard"}, "data": PLACES}
    tree = json.loads(config.model_dump_json(include={"pretrain", "data"}, exclude=exclude))
    return flat(tree)


def run_identity(
    config: RunConfig, teachers: Sequence[Mapping[str, Any]], specs: Sequence[ImageSpec] = ()
) -> dict[str, Any]:
    """One level of keys as in the configuration, in the parties' order the hash and the input (`specs`) of
    each teacher, and the hash of the method's file.

    Raises:
        OSError: that file cannot be read (any more).
    """
    decides = deciding(config)
    for key, former in FORMER.items():
        if decides[key] == former:
            del decides[key]
    if isinstance(config.method, Nayer) and config.method.embeddings is not None:
        content = Path(config.method.embeddings).read_bytes()
        decides["method.embeddings"] = hashlib.sha256(content).hexdigest()
    known = {f"teachers.{index}.{one['name']}.sha256": one["sha256"] for index, one in enumerate(teachers)}
    for index, spec in enumerate(specs):
        about = dataclasses.asdict(spec)
        about["classes"] = hashlib.sha256(json.dumps(spec.classes).encode()).hexdigest()  # Maybe 100,000.
        known |= flat(json.loads(json.dumps(about)), f"teachers.{index}.")
    return {FORM: 2, **decides, **known}


def check_identity(theirs: Any, ours: Mapping[str, Any], where: str) -> None:
    """A checkpoint may only be continued by the run that it is of.

    Raises:
        UserError: names the keys that differ, or says that another version wrote it.
    """
    theirs = theirs if isinstance(theirs, dict) else {}
    if theirs.get(FORM) != ours.get(FORM):
        raise UserError(
            f"{where} is of another version of dfmf, which noted other things of its run; go on with that "
            "version, or begin a new run"
        )
    keys = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    if keys:
        listed = "; ".join(f"{key}: {theirs.get(key)!r} there, {ours.get(key)!r} here" for key in keys[:5])
        more = f"; and {len(keys) - 5} more" if len(keys) > 5 else ""
        raise UserError(f"{where} is of another configuration: {listed}{more}")
