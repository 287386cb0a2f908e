"""DFQ without the adversarial loss: generators that are warmed up, then frozen (Shi et al., CVPR Workshops
2024, Section 4.1)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.batchnorm import BnReduction
from fusion.method import NAME, Method, Synthesis
from fusion.objective import Objective
from fusion.settings import setting
from fusion.terms import fidelity


@dataclasses.dataclass(frozen=True, kw_only=True)
class DfqNoAdv(Method):
    """What is left of DFQ's settings (docs/methods/dfq_no_adv.md)."""

    title: ClassVar[str] = "DFQ without its adversarial loss, Shi et al., CVPR Workshops 2024"
    warmup_loss: ClassVar[str | None] = "fidelity"
    warmup_settings: ClassVar[tuple[str, ...]] = ("bn_reduction",)
    trains_generators: ClassVar[bool] = False

    name: Literal["dfq_no_adv"] = setting("dfq_no_adv", NAME)
    bn_reduction: BnReduction = setting(
        "sum", "Over the channels of a layer the BN loss is a 'sum' or a 'mean'."
    )

    def warmup_objective(self, synthesis: Synthesis) -> Objective:
        """L^F, Eq. (3)."""
        return fidelity(synthesis, weight=1.0, bn_reduction=self.bn_reduction)
