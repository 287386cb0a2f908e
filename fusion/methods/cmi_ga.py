"""CMI with several teachers, and an assistant in the student's place: images from fresh generators, told
apart from all earlier ones (Shi et al., CVPR Workshops 2024, after Fang et al., IJCAI 2021)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.method import NAME, Contrasting, Critic, Synthesis
from fusion.objective import Objective
from fusion.settings import setting
from fusion.terms import agreeing_adversary, bn_distance, contrast, labelled


@dataclasses.dataclass(frozen=True, kw_only=True)
class CmiGa(Contrasting):
    """The same settings as CMI (docs/methods/cmi.md)."""

    title: ClassVar[str] = "CMI with generator assistants, Shi et al., CVPR Workshops 2024"
    critic: ClassVar[Critic] = "assistant"

    name: Literal["cmi_ga"] = setting("cmi_ga", NAME)

    def generator_objective(self, synthesis: Synthesis) -> Objective:
        """L_inv + L_cr: alpha L_bn + beta L_cls + gamma L_adv, and the contrastive loss, with the assistant
        in the student's place."""
        return {
            **bn_distance(synthesis, weight=self.bn_weight),
            **labelled(synthesis, weight=self.label_weight),
            **agreeing_adversary(synthesis, weight=self.adv_weight, tau=self.judging_tau),
            **contrast(synthesis, weight=self.contrast_weight, temperature=self.contrast_temperature),
        }
