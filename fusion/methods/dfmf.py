"""DFMF: every party's generator is judged by its own assistant (Shi et al., CVPR Workshops 2024)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.batchnorm import BnReduction
from fusion.method import NAME, Critic, Judged, Synthesis
from fusion.objective import Objective
from fusion.settings import setting
from fusion.terms import adversary, fidelity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dfmf(Judged):
    """The weights in the losses, and the choices that the paper leaves open (docs/choices.md)."""

    title: ClassVar[str] = "data-free model fusion with generator assistants, Shi et al., CVPR Workshops 2024"
    critic: ClassVar[Critic] = "assistant"
    warmup_loss: ClassVar[str | None] = "fidelity"
    warmup_settings: ClassVar[tuple[str, ...]] = ("bn_reduction",)

    name: Literal["dfmf"] = setting("dfmf", NAME)
    alpha: float = setting(
        0.1, "Weight of the fidelity loss against the adversarial loss, Eq. (6).", at_least=0
    )
    bn_reduction: BnReduction = setting(
        "sum", "Over the channels of a layer the BN loss is a 'sum' or a 'mean'."
    )

    def warmup_objective(self, synthesis: Synthesis) -> Objective:
        """L^F, Eq. (3): the objective of Algorithm 1, line 7."""
        return fidelity(synthesis, weight=1.0, bn_reduction=self.bn_reduction)

    def generator_objective(self, synthesis: Synthesis) -> Objective:
        """L^G = L^A + alpha L^F, Eq. (6).

        Line 15 prints L^F; Section 3.3 and Eq. (6) give L^G, the only loss in which the assistant has a use.
        """
        # In this order: autograd adds up gradients in the order in which the terms were computed.
        adversarial = adversary(synthesis, tau=self.tau)
        return adversarial | fidelity(synthesis, weight=self.alpha, bn_reduction=self.bn_reduction)
