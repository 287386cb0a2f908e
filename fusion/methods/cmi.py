"""CMI with several teachers: images from fresh generators, told apart from all earlier ones (Fang et
al., IJCAI 2021)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.method import NAME, Contrasting, JudgedByStudent, Synthesis
from fusion.objective import Objective
from fusion.settings import setting
from fusion.terms import agreeing_adversary, bn_distance, contrast, labelled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cmi(Contrasting, JudgedByStudent):
    """The weights in the losses are the shared ones (docs/methods/cmi.md)."""

    title: ClassVar[str] = "CMI, Fang et al., IJCAI 2021, with several teachers"

    name: Literal["cmi"] = setting("cmi", NAME)

    def generator_objective(self, synthesis: Synthesis) -> Objective:
        """L_inv + L_cr: alpha L_bn + beta L_cls + gamma L_adv, and the contrastive loss."""
        return {
            **bn_distance(synthesis, weight=self.bn_weight),
            **labelled(synthesis, weight=self.label_weight),
            **agreeing_adversary(synthesis, weight=self.adv_weight, tau=self.judging_tau),
            **contrast(synthesis, weight=self.contrast_weight, temperature=self.contrast_temperature),
        }
