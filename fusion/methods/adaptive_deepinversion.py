"""Adaptive DeepInversion with several teachers: images that a teacher takes for its data and of which the
student says something else (Yin et al., CVPR 2020)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.dreaming import Dreaming
from fusion.method import NAME, JudgedByStudent, Synthesis
from fusion.objective import Objective
from fusion.settings import setting
from fusion.terms import competition


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptiveDeepInversion(Dreaming, JudgedByStudent):
    """DeepInversion's settings and the weight of the competition (docs/methods/deepinversion.md)."""

    title: ClassVar[str] = "Adaptive DeepInversion, Yin et al., CVPR 2020, with several teachers"

    name: Literal["adaptive_deepinversion"] = setting("adaptive_deepinversion", NAME)
    critic_mode: Literal["train", "eval"] = setting(
        "eval", "Mode of the critic's BatchNorm layers while it judges a generator, Eq. (5)."
    )
    compete_weight: float = setting(
        10.0, "Weight of the competition: images of which teacher and student disagree.", at_least=0
    )

    def generator_objective(self, synthesis: Synthesis) -> Objective:
        """L(x, y) + R_ADI: the source's Eqs. (2) to (8)."""
        inverted = super().generator_objective(synthesis)
        return inverted | competition(synthesis, weight=self.compete_weight, tau=self.tau)
