"""What DeepInversion and Adaptive DeepInversion have in common: images that are optimised until a teacher
takes them for its data."""

import dataclasses
from typing import ClassVar

from fusion.losses import image_norm, total_variation
from fusion.method import Inverting, Synthesis
from fusion.objective import Objective, Term
from fusion.settings import setting
from fusion.terms import bn_distance, labelled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dreaming(Inverting):
    """Eqs. (2) to (5) of Yin et al., CVPR 2020 (docs/methods/deepinversion.md)."""

    has_generator: ClassVar[bool] = False

    beta: float = setting(0.0, "Weight of the VID loss, Eqs. (1) and (2).", at_least=0)
    inversion_steps: int = setting(2000, "Updates of a batch of images until it is finished.", at_least=1)
    bn_weight: float = setting(100.0, "Weight of the BN loss.", at_least=0)
    tv_weight: float = setting(2.5e-5, "Weight of the total variation.", at_least=0)
    l2_weight: float = setting(3e-8, "Weight of the images' norm.", at_least=0)
    image_lr: float = setting(0.1, "Learning rate of the images: Adam, constant.", above=0)
    jitter: int = setting(
        2, "Largest shift, in pixels and around the edges, of the images before each update.", at_least=0
    )

    def generator_objective(self, synthesis: Synthesis) -> Objective:
        """L(x, y) + R_DI: the source's Eqs. (2) to (5)."""
        assert synthesis.inputs is not None
        return {
            **labelled(synthesis, weight=1.0),
            "tv": Term(self.tv_weight, total_variation(synthesis.inputs)),
            "l2": Term(self.l2_weight, image_norm(synthesis.inputs)),
            **bn_distance(synthesis, weight=self.bn_weight),
        }
