"""The configuration of a run: typed, documented, with its defaults in one place."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fusion.assembly import FusionSettings
from fusion.audit.triggers import TriggerSearch
from fusion.augmentation import Augmentation
from fusion.cards import NAME_PATTERN as RUN_NAME
from fusion.compute import Compute
from fusion.data.sources import DataSettings
from fusion.generator import GeneratorSettings
from fusion.method import Inverting
from fusion.methods import Dfmf
from fusion.networks import NETWORKS
from fusion.networks.foreign import exists
from fusion.networks.names import is_plain_foreign
from fusion.pretraining import Recipe
from fusion.schedule import Optimisation, Schedule
from orchestrator.chosen_method import ChosenMethod
from orchestrator.sections import Checkpointing, EngineSettings, Numerics, Section, Tracking
from orchestrator.teacher_source import TeacherSource


def _known_network(name: str) -> str:
    if name not in NETWORKS and not is_plain_foreign(name):
        raise ValueError(f"unknown network (known: {', '.join(NETWORKS)}, torchvision:NAME, timm:NAME)")
    if name not in NETWORKS and not exists(name):
        raise ValueError(f"{name.partition(':')[0]} has no such classifier")
    return name


class Pretraining(Section):
    """Training the teachers here, from labelled data. Without it, `teachers` names them."""

    parties: int = Field(2, ge=1)
    """K: the number of teachers."""
    networks: tuple[str, ...] = Field(("resnet18",), min_length=1)
    """Their architectures, named as the student's: one for all, or one for each."""
    split: Literal["balanced", "imbalanced", "dirichlet"] = "balanced"
    """How the training images are shared out."""
    r: float = Field(3.0, ge=1, allow_inf_nan=False)
    """Imbalance ratio of 'imbalanced': how much larger a frequent class's share is."""
    concentration: float = Field(0.5, gt=0, allow_inf_nan=False)
    """Of the Dirichlet distribution of 'dirichlet'."""
    gold_standard: bool = True
    """Also train the student's network on all images, to compare with."""
    classes: tuple[tuple[int | str, ...], ...] | None = None
    """The classes of each party, by name or by number from 0; it trains on images of those alone. Empty: all
    know all."""
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] | None = None
    """How much of its images each party trains on; empty: all."""
    canaries: int = Field(0, ge=0)
    """Images of each party that are trained with a wrong label, for `dfmf audit --data` (docs/audit.md)."""
    recipe: Recipe = Recipe()
    """How each of them is trained."""

    @field_validator("networks")
    @classmethod
    def _networks_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_known_network(name) for name in names)

    @field_validator("classes", mode="before")
    @classmethod
    def _classes_are_lists(cls, value: Any) -> Any:
        if value is None:
            return None
        lists = value if isinstance(value, (list, tuple)) else [value]
        for one in lists:
            if not isinstance(one, (list, tuple)) or any(type(name) not in (int, str) for name in one):
                raise ValueError("must be a list of names or numbers of classes for each party")
            if len(one) < 2 or len(set(one)) < len(one):
                raise ValueError(f"a party needs two classes or more, each once, unlike {list(one)}")
        return tuple(tuple(one) for one in lists)

    @model_validator(mode="after")
    def _one_of_each(self) -> "Pretraining":
        for name, given in (("classes", self.classes), ("shares", self.shares)):
            if given is not None and len(given) != self.parties:
                raise ValueError(f"{name}: {len(given)} given for {self.parties} parties; give one each")
        if len(self.networks) not in (1, self.parties):
            raise ValueError(
                f"networks: {len(self.networks)} networks for {self.parties} parties; give 1 or one each"
            )
        return self

    def network(self, party: int) -> str:
        """The architecture of teacher `party`."""
        return self.networks[party % len(self.networks)]


class RunConfig(Section):
    """Everything about a fusion."""

    name: str | None = Field(None, pattern=RUN_NAME)
    """The run's folder under `output`; empty: the configuration's name and the time."""
    output: str = "runs"
    """Folder of all runs."""
    seed: int = Field(0, ge=0, le=2**63 - 1)
    """Decides every random draw."""
    student: str = "resnet18"
    """The student's network: one of ours, `torchvision:NAME` or `timm:NAME`, untrained."""
    assistant: Literal["teacher", "student"] = "teacher"
    """The architecture of the assistants: their teacher's, or the student's."""
    classes: tuple[str, ...] | None = None
    """The student's classes, in order: all that the teachers know, also where they share none; empty: in the
    order of their first appearance (docs/label-spaces.md)."""
    weights: tuple[float, ...] | Literal["uniform", "confidence"] = "uniform"
    """w_k in Eq. (1): a list, one a teacher; 'uniform': equal; 'confidence': for each sample the larger, the
    surer a teacher is of it (docs/label-spaces.md)."""
    data: DataSettings | None = None
    """Labelled images, for pretraining and for evaluation. A fusion needs none."""
    teachers: tuple[TeacherSource, ...] | None = None
    """The parties' classifiers; empty: they are pretrained first."""
    pretrain: Pretraining | None = None
    """Training the teachers here."""
    method: ChosenMethod = Dfmf()
    """How the generators are trained."""
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

    @field_validator("weights", mode="before")
    @classmethod
    def _weights_are_numbers_or_a_word(cls, value: Any) -> Any:
        if value is None:
            return "uniform"
        numbers = isinstance(value, (list, tuple)) and all(type(one) in (int, float) for one in value)
        if not numbers and value not in ("uniform", "confidence"):
            raise ValueError("must be 'uniform', 'confidence' or a list of numbers, one a teacher")
        return tuple(float(one) for one in value) if numbers else value

    @field_validator("teachers", mode="before")
    @classmethod
    def _paths_are_teachers(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            if not value:
                raise ValueError("name at least one")
            return tuple({"source": one} if isinstance(one, str) else one for one in value)
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
        self._method_fits()
        self._generator_fits()
        try:
            self.fusion_settings().teacher_weights(self.num_parties)
        except ValueError as error:
            raise ValueError(f"weights: {error}") from error
        return self

    def _method_fits(self) -> None:
        method, warms_up = self.method, self.schedule.warmup_epochs > 0
        if method.warmup_loss is None and warms_up:
            raise ValueError(
                f"schedule.warmup_epochs: must be 0 for method {method.name!r}, without a warm-up"
            )
        if isinstance(method, Inverting):
            for key, batch in (
                ("schedule.batch_size", self.schedule.batch_size),
                ("method.inversion_batch", method.inversion_batch),
            ):
                if method.bank_images < (batch or 0):
                    raise ValueError(
                        f"method.bank_images: must be at least {key}, {batch} (got {method.bank_images})"
                    )
        if method.has_generator and not method.trains_generators and not warms_up:
            raise ValueError(
                f"schedule.warmup_epochs: must be above 0 for method {method.name!r}, whose generators learn "
                "only there"
            )

    def _generator_fits(self) -> None:
        generator, method, parties = self.generator, self.method, self.num_parties
        of_batch = generator.layout == "nayer" and generator.sampling == "batch"
        if of_batch and method.images_from == "generator" and self.schedule.share(parties) < 2:
            raise ValueError(
                "generator.layout: 'nayer' makes no single image with the statistics of the batch "
                f"(generator.sampling), which is what each of {parties} parties has in a batch of "
                f"{self.schedule.batch_size}"
            )

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
            classes=self.classes,
            seed=self.seed,
            method=self.method,
            schedule=self.schedule,
            optimisation=self.optimisation,
            generator=self.generator,
            augmentation=self.augmentation,
            compute=self.compute,
        )
