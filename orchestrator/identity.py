"""What a run and a checkpoint that it goes on from must have in common: all that decides the result."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusion.methods import Nayer
from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.tracking import flat

FREE = {"name", "output", "data", "teachers", "pretrain", "engine", "checkpoint", "numerics", "tracking"}
"""Sections that may differ: they decide where the work runs and what is told of it. The teachers are compared
by their weights."""


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


def run_identity(config: RunConfig, teachers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One level of keys as in the configuration, and the hashes of each teacher and of the method's file.

    Raises:
        OSError: that file cannot be read (any more).
    """
    decides = deciding(config)
    if decides["method.name"] == "dfmf":
        del decides["method.name"]  # Which a checkpoint without a method's name is of.
    if isinstance(config.method, Nayer) and config.method.embeddings is not None:
        content = Path(config.method.embeddings).read_bytes()
        decides["method.embeddings"] = hashlib.sha256(content).hexdigest()
    hashes = {f"teachers.{one['name']}.sha256": one["sha256"] for one in teachers}
    return {**decides, **hashes}


def check_identity(theirs: Any, ours: Mapping[str, Any], where: str) -> None:
    """A checkpoint may only be continued by the run that it is of.

    Raises:
        UserError: names the keys that differ.
    """
    theirs = theirs if isinstance(theirs, dict) else {}
    keys = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    if keys:
        listed = "; ".join(f"{key}: {theirs.get(key)!r} there, {ours.get(key)!r} here" for key in keys[:5])
        more = f"; and {len(keys) - 5} more" if len(keys) > 5 else ""
        raise UserError(f"{where} is of another configuration: {listed}{more}")
