"""DFQ with several teachers: every generator is judged by the student (Choi et al., CVPR Workshops 2020)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.batchnorm import BnReduction
from fusion.method import NAME, JudgedByStudent, Synthesis
from fusion.objective import Objective
from fusion.settings import setting
from fusion.terms import adversary, fidelity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dfq(JudgedByStudent):
    """The weights in the losses (docs/methods/dfq.md)."""

    title: ClassVar[str] = "DFQ, Choi et al., CVPR Workshops 2020, with several teachers"
    warmup_loss: ClassVar[str | None] = "fidelity"
    warmup_settings: ClassVar[tuple[str, ...]] = ("bn_reduction",)

    name: Literal["dfq"] = setting("dfq", NAME)
    alpha: float = setting(
        0.1, "Weight of the fidelity loss against the adversarial loss, Eq. (6).", at_least=0
    )
    bn_reduction: BnReduction = setting(
        "sum", "Over the channels of a layer the BN loss is a 'sum' or a 'mean'."
    )

    def warmup_objective(self, synthesis: Synthesis) -> Objective:
        """L^F, Eq. (3)."""
        return fidelity(synthesis, weight=1.0, bn_reduction=self.bn_reduction)

    def generator_objective(self, synthesis: Synthesis) -> Objective:
        """L^A + alpha L^F, Eq. (6), with the student in the assistant's place."""
        # In this order: autograd adds up gradients in the order in which the terms were computed.
        adversarial = adversary(synthesis, tau=self.tau)
        return adversarial | fidelity(synthesis, weight=self.alpha, bn_reduction=self.bn_reduction)
