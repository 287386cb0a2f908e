"""FastDFKD with several teachers: batches of images from a start that is itself learnt (Fang et al., AAAI
2022)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.meta import MetaGradient
from fusion.method import NAME, JudgedByStudent, Remembering, Synthesis
from fusion.objective import Objective
from fusion.settings import setting
from fusion.terms import agreeing_adversary, bn_distance, labelled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fast(Remembering, JudgedByStudent):
    """The weights in the losses, and how the start is learnt (docs/methods/fast.md)."""

    title: ClassVar[str] = "FastDFKD, Fang et al., AAAI 2022, with several teachers"

    name: Literal["fast"] = setting("fast", NAME)
    critic_mode: Literal["train", "eval"] = setting(
        "eval", "Mode of the critic's BatchNorm layers while it judges a generator, Eq. (5)."
    )
    inversion_steps: int = setting(10, "Updates of a batch of images until it is finished.", at_least=1)
    bn_weight: float = setting(10.0, "Weight of the BN loss.", at_least=0)
    label_weight: float = setting(
        0.5, "Weight of the cross-entropy to the classes that images are to show.", at_least=0
    )
    adv_weight: float = setting(1.33, "Weight of the adversarial loss.", at_least=0)
    noise_lr: float = setting(0.01, "Learning rate of a batch's noise: Adam, constant.", above=0)
    meta_gradient: MetaGradient = setting(
        "sum",
        "What the generator that all batches start from is moved along: the 'sum' of a batch's gradients, or "
        "the 'difference' between start and end (Reptile).",
    )

    def generator_objective(self, synthesis: Synthesis) -> Objective:
        """alpha L_cls + beta L_adv + gamma L_feat."""
        return {
            **labelled(synthesis, weight=self.label_weight),
            **bn_distance(synthesis, weight=self.bn_weight),
            **agreeing_adversary(synthesis, weight=self.adv_weight, tau=self.tau),
        }
