"""What a method says of itself: its settings, its critic, and what its generators minimise in which phase."""

import dataclasses
from typing import ClassVar, Literal, TypeAlias

from torch import Tensor

from fusion.batchnorm import BnLoss
from fusion.objective import Objective
from fusion.settings import Settings, setting

Critic: TypeAlias = Literal["assistant", "student", "none"]
"""Who a generator tries to disagree with its teacher: the party's assistant, the student, or nobody."""

NAME = "How the generators are trained; docs/methods has a page for each."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What a generator's objective may look at: its images through the teacher and, in the main phase, the
    critic."""

    teacher_logits: Tensor
    bn_divergences: list[Tensor]
    """A tensor for each BatchNorm layer of the teacher (`Method.bn_divergence`); empty for a teacher
    without."""
    teacher_features: Tensor | None = None
    """The teacher's last convolutional map: [batch, channels, height, width]."""
    critic_logits: Tensor | None = None
    """Of the teacher's classes, in its order."""
    labels: Tensor | None = None
    """The teacher's classes, by number, that the images are to show: [batch]. Of methods that invert."""
    inputs: Tensor | None = None
    """The images as the teacher's network takes them, normalised."""
    views: tuple[Tensor, Tensor] | None = None
    """Embeddings [batch + others, width] of a part and of the whole of each image, then of earlier images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(Settings):
    """What all methods have in common: how the learners distil (Eqs. 1 and 2). A method adds its own
    settings and one or both of the objectives."""

    title: ClassVar[str]
    """What it is and where it comes from, in half a sentence."""
    critic: ClassVar[Critic] = "none"
    warmup_loss: ClassVar[str | None] = None
    """The name of what `warmup_objective` minimises; None: the method has no warm-up."""
    warmup_settings: ClassVar[tuple[str, ...]] = ()
    """The fields that decide the warm-up."""
    trains_generators: ClassVar[bool] = True
    """Whether generators learn in the main phase; otherwise they stay as the warm-up left them."""
    images_from: ClassVar[Literal["generator", "bank"]] = "generator"
    """The part of a party that its images come from, by its role."""
    has_generator: ClassVar[bool] = True
    """Whether a generator makes the images; otherwise they are themselves what is updated."""
    data_free: ClassVar[bool] = True
    """Whether it needs nothing but teachers."""
    teacher_passes: ClassVar[int] = 1
    """How often an update's images go through the teacher."""

    name: str = setting("", NAME)
    beta: float = setting(1.0, "Weight of the VID loss, Eqs. (1) and (2).", at_least=0)
    tau: float = setting(3.0, "Temperature of all softened labels.", above=0)
    distill_scale: Literal["one", "tau_squared"] = setting(
        "tau_squared",
        "Factor on the learners' divergence in Eqs. (1) and (2): 'tau_squared', or 'one' as printed.",
    )

    @property
    def lag(self) -> int | None:
        """By how many iterations the critic lags behind the student; None: the critic is not the student."""
        return None

    @property
    def distill_weight(self) -> float:
        """The factor that `distill_scale` names."""
        return self.tau**2 if self.distill_scale == "tau_squared" else 1.0

    @property
    def bn_divergence(self) -> BnLoss:
        """What is measured at each BatchNorm layer of a teacher."""
        return "gaussian_kl"

    @property
    def bn_memory(self) -> float:
        """The weight of earlier batches in the statistics that the BN loss compares."""
        return 0.0

    @property
    def updates_per_iteration(self) -> float:
        """How often, on average, what makes the images is updated."""
        return float(self.trains_generators)

    @property
    def on_training_images(self) -> bool:
        """Whether the student learns from the teachers' own training images."""
        return False

    def images_at_once(self, batch_size: int) -> int:
        """How many images an update of what makes them looks at, with `batch_size` in the schedule."""
        return batch_size

    def trains_in(self, iteration: int) -> bool:
        """Whether what makes the images learns in this iteration (from 0) of the main phase."""
        del iteration
        return self.trains_generators

    def warmup_objective(self, synthesis: Synthesis) -> Objective:
        """What a generator minimises before anybody learns from it; only of a method with a `warmup_loss`."""
        raise NotImplementedError

    def generator_objective(self, synthesis: Synthesis) -> Objective:
        """What a generator minimises in the main phase: as in the warm-up, for a method without a critic."""
        return self.warmup_objective(synthesis)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged(Method):
    """A method with a critic."""

    critic_mode: Literal["train", "eval"] = setting(
        "train", "Mode of the critic's BatchNorm layers while it judges a generator, Eq. (5)."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgedByStudent(Judged):
    """A method whose critic is the student."""

    critic: ClassVar[Critic] = "student"

    staleness: int = setting(
        0,
        "Iterations by which the critic lags behind the student, and the parties may run ahead of it: "
        "iteration i is judged by the student after i - 'staleness' iterations; 0 is lockstep.",
        at_least=0,
    )

    @property
    def lag(self) -> int | None:
        """`staleness`."""
        return self.staleness


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inverting(Method):
    """A method whose images are made a batch at a time, by many updates, and then kept in a bank."""

    images_from: ClassVar[Literal["generator", "bank"]] = "bank"

    inversion_steps: int = setting(200, "Updates of a batch of images until it is finished.", at_least=1)
    inversion_every: int = setting(
        40, "Iterations from one batch to the next; M_S times this are the student's updates.", at_least=1
    )
    inversion_batch: int | None = setting(
        None, "Images in a batch, all of which are updated together; empty: schedule.batch_size.", at_least=2
    )
    bank_images: int = setting(
        10240,
        "Images that a party keeps, the newest ones; at least schedule.batch_size and 'inversion_batch'.",
        at_least=1,
    )
    bn_loss: BnLoss = setting(
        "distance",
        "The BN loss of a layer: 'distance', the norms of what mean and variance are off, as in the source, "
        "or 'gaussian_kl', Eq. (4).",
    )

    @property
    def bn_divergence(self) -> BnLoss:
        """As `bn_loss` says."""
        return self.bn_loss

    @property
    def updates_per_iteration(self) -> float:
        """Those of an inversion, over the iterations that it is for."""
        return self.inversion_steps / self.inversion_every

    def images_at_once(self, batch_size: int) -> int:
        """As `inversion_batch` says."""
        return self.inversion_batch or batch_size

    def trains_in(self, iteration: int) -> bool:
        """Every so many iterations, in the first one too."""
        return iteration % self.inversion_every == 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remembering(Inverting):
    """A method that inverts and whose BN loss looks at earlier batches too."""

    bn_momentum: float = setting(
        0.9,
        "Weight of earlier batches in the statistics that the BN loss compares with a teacher's; 0: of the "
        "batch alone.",
        at_least=0,
        below=1,
    )

    @property
    def bn_memory(self) -> float:
        """`bn_momentum`."""
        return self.bn_momentum


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contrasting(Inverting, Judged):
    """A method that inverts by fresh generators, has a critic, and tells its images apart."""

    teacher_passes: ClassVar[int] = 2

    beta: float = setting(0.0, "Weight of the VID loss, Eqs. (1) and (2).", at_least=0)
    critic_mode: Literal["train", "eval"] = setting(
        "eval", "Mode of the critic's BatchNorm layers while it judges a generator, Eq. (5)."
    )
    bn_weight: float = setting(1.0, "Weight of the BN loss.", at_least=0)
    label_weight: float = setting(
        0.5, "Weight of the cross-entropy to the classes that images are to show.", at_least=0
    )
    adv_weight: float = setting(0.5, "Weight of the adversarial loss.", at_least=0)
    adv_tau: float | None = setting(
        None, "Temperature of the adversarial loss; empty: that of the others, 'tau'.", above=0
    )
    contrast_weight: float = setting(0.8, "Weight of the contrastive loss.", at_least=0)
    contrast_temperature: float = setting(0.1, "Temperature of the contrastive loss.", above=0)
    contrast_images: int = setting(
        4096, "Images of the bank, drawn anew for each update, that new ones are told apart from.", at_least=0
    )
    embedding_dim: int = setting(128, "Length of the embeddings that are compared.", at_least=1)

    @property
    def judging_tau(self) -> float:
        """As `adv_tau` says."""
        return self.adv_tau or self.tau
