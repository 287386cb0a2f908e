"""DFMF: every party's generator is judged by its own assistant (Shi et al., CVPR Workshops 2024)."""

import dataclasses
from typing import Literal

from torch import Tensor

from fusion.batchnorm import BnReduction, bn_divergence
from fusion.losses import adversarial, instance_entropy, negative_batch_entropy
from fusion.objective import Objective, Term
from fusion.settings import Settings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What a generator's objective may look at: its images through the teacher and, in the main phase, the
    critic."""

    teacher_logits: Tensor
    bn_divergences: list[Tensor]
    """One [channels] tensor a BatchNorm layer of the teacher; empty for a teacher without."""
    critic_logits: Tensor | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dfmf(Settings):
    """The weights in the losses, and the choices that the paper leaves open (docs/choices.md)."""

    alpha: float = setting(
        0.1, "Weight of the fidelity loss against the adversarial loss, Eq. (6).", at_least=0
    )
    beta: float = setting(1.0, "Weight of the VID loss, Eqs. (1) and (2).", at_least=0)
    tau: float = setting(3.0, "Temperature of all softened labels.", above=0)
    bn_reduction: BnReduction = setting(
        "sum", "Over the channels of a layer the BN loss is a 'sum' or a 'mean'."
    )
    distill_scale: Literal["one", "tau_squared"] = setting(
        "tau_squared",
        "Factor on the learners' divergence in Eqs. (1) and (2): 'tau_squared', or 'one' as printed.",
    )
    critic_mode: Literal["train", "eval"] = setting(
        "train", "Mode of the assistant's BatchNorm layers while it judges a generator, Eq. (5)."
    )

    @property
    def distill_weight(self) -> float:
        """The factor that `distill_scale` names."""
        return self.tau**2 if self.distill_scale == "tau_squared" else 1.0

    def warmup_objective(self, synthesis: Synthesis) -> Objective:
        """L^F, Eq. (3): the objective of Algorithm 1, line 7."""
        return self._fidelity(synthesis, weight=1.0)

    def generator_objective(self, synthesis: Synthesis) -> Objective:
        """L^G = L^A + alpha L^F, Eq. (6).

        Line 15 prints L^F; Section 3.3 and Eq. (6) give L^G, the only loss in which the assistant has a use.
        """
        assert synthesis.critic_logits is not None
        adversary = adversarial(synthesis.teacher_logits, synthesis.critic_logits, tau=self.tau)
        return {"adv": Term(1.0, adversary), **self._fidelity(synthesis, weight=self.alpha)}

    def _fidelity(self, synthesis: Synthesis, weight: float) -> Objective:
        objective = {
            "ice": Term(weight, instance_entropy(synthesis.teacher_logits)),
            "bce": Term(weight, negative_batch_entropy(synthesis.teacher_logits)),
        }
        if synthesis.bn_divergences:
            objective["bn"] = Term(weight, bn_divergence(synthesis.bn_divergences, self.bn_reduction))
        return objective
