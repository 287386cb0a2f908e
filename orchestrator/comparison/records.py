"""What is compared: runs, each with its configuration, its results and its curves."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.comparison.files import Parameter, Summary
from orchestrator.journal import Epoch

FINISHED = "finished"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep's runs have in common."""

    name: str
    parameters: Mapping[str, Parameter]
    """By their keys in the configuration."""
    base: Mapping[str, Any] | None
    """The configuration that the trials change, on one level; None where the folder does not hold it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One fusion, wherever it was kept."""

    name: str
    origin: str
    """Its folder, or its place in MLflow; without secrets."""
    identity: str
    """The same for the same run that is named twice."""
    seed: int
    config: Mapping[str, Any]
    """The complete configuration on one level (``schedule.m_ga``), without secrets; empty if unknown."""
    status: str
    """'finished', or what became of it."""
    reason: str | None = None
    """Why it is not finished, in a line."""
    summary: Summary | None = None
    """What summary.json holds; None if the run is not finished."""
    epochs: Sequence[Epoch] = ()
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What environment.json holds, if it is there."""
    classes: Sequence[str] = ()
    """Names of the classes, if they are known."""
    sweep: Sweep | None = None
    started_in: Path | None = None
    """The folder that its relative paths count from, if that is known."""

    @property
    def finished(self) -> bool:
        """Whether it counts."""
        return self.summary is not None

    @property
    def results(self) -> Summary:
        """The summary of a finished run."""
        assert self.summary is not None
        return self.summary
