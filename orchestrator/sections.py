"""The sections of a configuration that decide where a run works and what is told of it."""

import os
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fusion.cards import NAME_PATTERN
from fusion.health import Limits


class Section(BaseModel):
    """What every section has: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class EngineSettings(Section):
    """Where and how the work runs. Nothing here changes a result on the CPU, but `threads`."""

    mode: Literal["ray", "local"] = "ray"
    """'ray': every party and the student are actors; 'local': one process, without Ray."""
    address: str | None = None
    """A Ray cluster: 'auto' or 'host:port'. Empty: the RAY_ADDRESS of a submitted job, else a private one
    here."""
    prefetch: int = Field(1, ge=0)
    """Iterations that the parties may run ahead of the one that the student has fetched; where they label, or
    the student has a GPU, it fetches the next one before it is done with the last. Where the student is the
    critic, `method.staleness` takes its place."""
    threads: int = Field(1, ge=1)
    """CPU threads of each party and of the student; part of what decides the bits of a result."""
    labelling: Literal["auto", "student", "parties"] = "auto"
    """Where the teachers label the student's images: copies of all K beside the 'student', or each at its own
    of the 'parties', which no teacher then leaves; the student is then spared the labelling, while its own
    step still grows with the teachers asked. 'auto' takes what should be faster."""
    party_actors: int | None = Field(None, ge=1)
    """Actors that the K parties live in; empty: one a GPU, without GPUs one a CPU."""
    student_workers: int = Field(1, ge=1)
    """Workers that share the student's batches (Ray Train, data-parallel)."""
    gpus_per_party: float | None = Field(None, ge=0, allow_inf_nan=False)
    """GPUs, or a share of one, for each party, which then has an actor of its own; empty shares out what the
    cluster has; 0 keeps the parties on CPUs."""
    student_gpus: float | None = Field(None, ge=0, allow_inf_nan=False)
    """The same for each of the student's workers."""
    placement: Literal["PACK", "SPREAD"] = "PACK"
    """Actors on few nodes, or spread over many."""
    wait_seconds: float = Field(600.0, ge=0, allow_inf_nan=False)
    """How long to wait for a cluster to have what the run needs."""
    verify: bool = False
    """Whether the student checks a checksum of all images that arrive."""
    restarts: int = Field(10, ge=0)
    """How often each actor may be started again after it was lost, before the run is given up."""
    silent_seconds: float = Field(60.0, gt=0, allow_inf_nan=False)
    """An actor that does not answer for so long is taken for frozen, killed and restored."""
    stuck_seconds: float = Field(1800.0, gt=0, allow_inf_nan=False)
    """A party that has work and does no update for so long is killed and restored."""

    @property
    def cluster_address(self) -> str | None:
        """Of somebody's cluster, which may grow; None: a private one."""
        return self.address or os.environ.get("RAY_ADDRESS") or None


class Checkpointing(Section):
    """Snapshots of the whole run, from which `dfmf fuse --resume` goes on, on the CPU to the same bits."""

    to: str | None = None
    """A folder or a URI (s3://, gs://, hdfs://, ...), from which a run can go on whose folder is lost; empty:
    `checkpoints` in the run's folder."""
    every_minutes: float | None = Field(5.0, gt=0, allow_inf_nan=False)
    """Time between two; empty: not by time."""
    every_iterations: int | None = Field(None, ge=1)
    """Iterations (in the warm-up: updates, to the next epoch's end) between two; empty: not by iterations."""
    cache: str | None = None
    """A folder in which runs share what they compute alike: pretrained teachers, and parties after the
    warm-up.
    Empty: none; the runs of a sweep share one in the output folder."""
    keep: int = Field(2, ge=1)
    """How many of the newest are kept; when a run is finished, none."""


class Numerics(Section):
    """What happens when the numbers go wrong."""

    policy: Literal["stop", "rewind"] = "stop"
    """'stop', or 'rewind': go back to the last checkpoint, with another noise and learning rates halved."""
    rewinds: int = Field(3, ge=1)
    """How often to go back before the run stops after all."""
    limits: Limits = Limits()
    """What is wrong, besides values that are not finite."""


class Tracking(Section):
    """MLflow."""

    enabled: bool = True
    """Whether the run is logged."""
    uri: str | None = None
    """A tracking server or database; empty: SQLite in the output folder."""
    experiment: str = Field("dfmf", min_length=1)
    """The experiment's name."""
    register_as: str | None = Field(None, pattern=NAME_PATTERN)
    """The registered model that the fused student becomes the next version of; empty: none."""

    @model_validator(mode="after")
    def _registers_what_is_logged(self) -> "Tracking":
        if self.register_as is not None and not self.enabled:
            raise ValueError("register_as: a run that is not logged (enabled: false) is not registered")
        return self
