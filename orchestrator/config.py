"""The configuration of a run: typed, documented, with its defaults in one place."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fusion.assembly import FusionSettings
from fusion.audit.triggers import TriggerSearch
from fusion.augmentation import Augmentation
from fusion.cards import NAME_PATTERN as RUN_NAME
from fusion.compute import Compute
from fusion.data.sources import DataSettings
from fusion.generator import GeneratorSettings
from fusion.health import Limits
from fusion.methods import Dfmf
from fusion.networks import NETWORKS
from fusion.pretraining import Recipe
from fusion.schedule import Optimisation, Schedule


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


def _known_network(name: str) -> str:
    if name not in NETWORKS:
        raise ValueError(f"unknown network (known: {', '.join(NETWORKS)})")
    return name


class TeacherSource(_Section):
    """One party's classifier on disk."""

    path: str
    """Its .safetensors file; the card lies beside it."""
    name: str | None = Field(None, pattern=RUN_NAME)
    """The party's name; by default the card's."""


class Pretraining(_Section):
    """Training the teachers here, from labelled data. Without it, `teachers` names them."""

    parties: int = Field(2, ge=1)
    """K: the number of teachers."""
    networks: tuple[str, ...] = Field(("resnet18",), min_length=1)
    """Their architectures: one for all, or one for each."""
    split: Literal["balanced", "imbalanced", "dirichlet"] = "balanced"
    """How the training images are shared out."""
    r: float = Field(3.0, ge=1, allow_inf_nan=False)
    """Imbalance ratio of 'imbalanced': how much larger a frequent class's share is."""
    concentration: float = Field(0.5, gt=0, allow_inf_nan=False)
    """Of the Dirichlet distribution of 'dirichlet'."""
    gold_standard: bool = True
    """Also train the student's network on all images, to compare with."""
    canaries: int = Field(0, ge=0)
    """Images of each party that are trained with a wrong label, for `dfmf audit --data` (docs/audit.md)."""
    recipe: Recipe = Recipe()
    """How each of them is trained."""

    @field_validator("networks")
    @classmethod
    def _networks_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_known_network(name) for name in names)

    @model_validator(mode="after")
    def _one_network_each(self) -> "Pretraining":
        if len(self.networks) not in (1, self.parties):
            raise ValueError(
                f"networks: {len(self.networks)} networks for {self.parties} parties; give 1 or one each"
            )
        return self

    def network(self, party: int) -> str:
        """The architecture of teacher `party`."""
        return self.networks[party % len(self.networks)]


class EngineSettings(_Section):
    """Where and how the work runs. Nothing here changes a result on the CPU, but `threads`."""

    mode: Literal["ray", "local"] = "ray"
    """'ray': every party and the student are actors; 'local': one process, without Ray."""
    address: str | None = None
    """A Ray cluster: 'auto' or 'host:port'. Empty: the RAY_ADDRESS of a submitted job, else a private one
    here."""
    prefetch: int = Field(1, ge=0)
    """Iterations that the parties may run ahead of the one that the student has fetched; where they label, or
    the student has a GPU, it fetches the next one before it is done with the last."""
    threads: int = Field(1, ge=1)
    """CPU threads of each party and of the student; part of what decides the bits of a result."""
    labelling: Literal["auto", "student", "parties"] = "auto"
    """Where the teachers label the student's images: copies of all K beside the 'student', or each at its
    own of
    the 'parties', which no teacher then leaves and whose number no longer slows the student; 'auto' takes
    what
    should be faster."""
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


class Checkpointing(_Section):
    """Snapshots of the whole run, from which `dfmf fuse --resume` goes on to the same bits."""

    to: str | None = None
    """A folder or a URI (s3://, gs://, hdfs://, ...); empty: `checkpoints` in the run's folder."""
    every_minutes: float | None = Field(5.0, gt=0, allow_inf_nan=False)
    """Time between two; empty: not by time."""
    every_iterations: int | None = Field(None, ge=1)
    """Iterations (in the warm-up: updates) between two; empty: not by iterations."""
    keep: int = Field(2, ge=1)
    """How many of the newest are kept; when a run is finished, none."""


class Numerics(_Section):
    """What happens when the numbers go wrong."""

    policy: Literal["stop", "rewind"] = "stop"
    """'stop', or 'rewind': go back to the last checkpoint, with another noise and learning rates halved."""
    rewinds: int = Field(3, ge=1)
    """How often to go back before the run stops after all."""
    limits: Limits = Limits()
    """What is wrong, besides values that are not finite."""


class Tracking(_Section):
    """MLflow."""

    enabled: bool = True
    """Whether the run is logged."""
    uri: str | None = None
    """A tracking server or database; empty: SQLite in the output folder."""
    experiment: str = Field("dfmf", min_length=1)
    """The experiment's name."""


class RunConfig(_Section):
    """Everything about a fusion."""

    name: str | None = Field(None, pattern=RUN_NAME)
    """The run's folder under `output`; empty: the configuration's name and the time."""
    output: str = "runs"
    """Folder of all runs."""
    seed: int = Field(0, ge=0, le=2**63 - 1)
    """Decides every random draw."""
    student: str = "resnet18"
    """The student's network."""
    assistant: Literal["teacher", "student"] = "teacher"
    """The architecture of the assistants: their teacher's, or the student's."""
    weights: tuple[float, ...] | None = None
    """w_k in Eq. (1), one a teacher; empty: equal."""
    data: DataSettings | None = None
    """Labelled images, for pretraining and for evaluation. A fusion needs none."""
    teachers: tuple[TeacherSource, ...] | None = Field(None, min_length=1)
    """The parties' classifiers; empty: they are pretrained first."""
    pretrain: Pretraining | None = None
    """Training the teachers here."""
    method: Dfmf = Dfmf()
    """Loss weights and open choices."""
    schedule: Schedule = Schedule()
    """How often what is updated."""
    optimisation: Optimisation = Optimisation()
    """Learning rates."""
    generator: GeneratorSettings = GeneratorSettings()
    """The generators."""
    augmentation: Augmentation = Augmentation()
    """The student's augmentation."""
    compute: Compute = Compute()
    """How the arithmetic is done."""
    engine: EngineSettings = EngineSettings()
    """Ray."""
    checkpoint: Checkpointing = Checkpointing()
    """Checkpoints."""
    numerics: Numerics = Numerics()
    """Losses that explode, generators that collapse."""
    tracking: Tracking = Tracking()
    """MLflow."""
    audit: TriggerSearch = TriggerSearch()
    """The search for planted triggers of `dfmf audit`."""

    @field_validator("student")
    @classmethod
    def _student_exists(cls, name: str) -> str:
        return _known_network(name)

    @field_validator("teachers", mode="before")
    @classmethod
    def _paths_are_teachers(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return tuple({"path": one} if isinstance(one, str) else one for one in value)
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> "RunConfig":
        if self.teachers is None and self.pretrain is None:
            raise ValueError("teachers: name at least one, or give a section 'pretrain' to train them here")
        if self.teachers is None and self.data is None:
            raise ValueError("data: needed to pretrain the teachers")
        try:
            self.schedule.share(self.num_parties)
        except ValueError as error:
            raise ValueError(f"schedule.batch_size: {error}") from error
        share, workers = self.schedule.share(self.num_parties), self.engine.student_workers
        if share % workers:
            raise ValueError(
                f"engine.student_workers: {workers} workers cannot share the {share} images that each of the "
                f"{self.num_parties} parties has in a batch of {self.schedule.batch_size}"
            )
        if workers > 1 and self.engine.mode == "local":
            raise ValueError("engine.student_workers: more than 1 needs engine.mode 'ray'")
        try:
            self.fusion_settings().teacher_weights(self.num_parties)
        except ValueError as error:
            raise ValueError(f"weights: {error}") from error
        return self

    @property
    def num_parties(self) -> int:
        """K."""
        if self.teachers is not None:
            return len(self.teachers)
        assert self.pretrain is not None
        return self.pretrain.parties

    def fusion_settings(self) -> FusionSettings:
        """What decides the result, as `fusion` takes it."""
        return FusionSettings(
            student=self.student,
            assistant=self.assistant,
            weights=self.weights,
            seed=self.seed,
            method=self.method,
            schedule=self.schedule,
            optimisation=self.optimisation,
            generator=self.generator,
            augmentation=self.augmentation,
            compute=self.compute,
        )
