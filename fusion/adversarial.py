"""What DFMF and DFQ have in common: a generator that is faithful to its teacher's data and disagrees with a
critic."""

import dataclasses
from typing import ClassVar

from fusion.batchnorm import BnReduction
from fusion.method import Judged, Synthesis
from fusion.objective import Objective
from fusion.settings import setting
from fusion.terms import adversary, fidelity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adversarial(Judged):
    """Eqs. (3) and (6) of the paper; who the critic is, the method says."""

    warmup_loss: ClassVar[str | None] = "fidelity"
    warmup_settings: ClassVar[tuple[str, ...]] = ("bn_reduction",)

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
