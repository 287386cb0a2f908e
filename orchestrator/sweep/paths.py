"""Paths that mean the same in every process of a sweep."""

import dataclasses
from pathlib import Path
from typing import Any

from fusion.methods import Nayer, TransferSet
from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.registry import is_registered
from orchestrator.sources import is_elsewhere
from orchestrator.sweep.space import Space
from orchestrator.teacher_source import TeacherSource
from orchestrator.teachers import with_versions
from orchestrator.tracking import SQLITE, tracking_uri
from orchestrator.transfer import DATA, NOISE

SOURCES, EMBEDDINGS = "method.sources", "method.embeddings"
"""The keys that a sweep may vary whose values are paths."""


def absolute(config: RunConfig) -> RunConfig:
    """The configuration with all its paths from the root on, MLflow's store named, and of teachers from a
    registry the version.

    Raises:
        UserError: there is no such version; or nobody says where, but the environment, which trials' store
        would hide.
    """
    sources = [one.source for one in config.teachers or ()]
    if config.tracking.enabled and config.tracking.uri is None and any(map(is_registered, sources)):
        raise UserError("tracking.uri: trials that take teachers from a registry must name it here")
    config = with_versions(config)
    changes: dict[str, object] = {"output": _from_root(config.output)}
    if config.data is not None:
        data = config.data
        changes["data"] = dataclasses.replace(
            data,
            root=_from_root(data.root),
            train=data.train and _from_root(data.train),
            test=data.test and _from_root(data.test),
        )
    method = config.method
    if isinstance(method, TransferSet):
        images = tuple(_source(one) for one in method.sources)
        changes["method"] = dataclasses.replace(method, sources=images)
    if isinstance(method, Nayer) and method.embeddings is not None:
        changes["method"] = dataclasses.replace(method, embeddings=_from_root(method.embeddings))
    if config.teachers is not None:
        changes["teachers"] = tuple(map(_teacher, config.teachers))
    if config.checkpoint.cache is not None:
        changes["checkpoint"] = config.checkpoint.model_copy(
            update={"cache": _from_root(config.checkpoint.cache)}
        )
    if config.tracking.enabled:
        uri = tracking_uri(config.tracking, Path(config.output))
        if uri.startswith(SQLITE):
            uri = SQLITE + _from_root(uri.removeprefix(SQLITE))
        changes["tracking"] = config.tracking.model_copy(update={"uri": uri})
    return config.model_copy(update=changes)


def absolute_space(space: Space) -> Space:
    """The space with the paths among its values from the root on, for trials are run, and gone on with, from
    any folder."""
    parameters = {
        key: one.model_copy(update={"grid": tuple(_value(key, value) for value in one.grid)})
        for key, one in space.parameters.items()
    }
    cases = {
        name: {key: _value(key, value) for key, value in values.items()}
        for name, values in space.cases.items()
    }
    return space.model_copy(update={"parameters": parameters, "cases": cases})


def _value(key: str, value: Any) -> Any:
    if key == SOURCES and isinstance(value, list):
        return [_source(one) for one in value]
    return _from_root(value) if key == EMBEDDINGS and isinstance(value, str) else value


def _teacher(one: TeacherSource) -> TeacherSource:
    source = one.source if is_elsewhere(one.source) else _from_root(one.source)
    classes = _from_root(one.classes) if isinstance(one.classes, str) else one.classes
    return one.model_copy(update={"source": source, "classes": classes})


def _source(name: str) -> str:
    return name if name in (NOISE, DATA) else _from_root(name)


def _from_root(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())
