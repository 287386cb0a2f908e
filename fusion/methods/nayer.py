"""NAYER with several teachers: a generator of class embeddings behind a noisy layer that is drawn anew for
every batch (Tran et al., CVPR 2024)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.method import NAME, JudgedByStudent, Remembering, Synthesis
from fusion.noisy import NoisyLayer
from fusion.objective import Objective
from fusion.settings import setting
from fusion.terms import agreeing_adversary, bn_distance, labelled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nayer(Remembering, JudgedByStudent):
    """The weights in the losses, and what the generator starts from (docs/methods/nayer.md)."""

    title: ClassVar[str] = "NAYER, Tran et al., CVPR 2024, with several teachers"

    name: Literal["nayer"] = setting("nayer", NAME)
    critic_mode: Literal["train", "eval"] = setting(
        "eval", "Mode of the critic's BatchNorm layers while it judges a generator, Eq. (5)."
    )
    inversion_steps: int = setting(30, "Updates of a batch of images until it is finished.", at_least=1)
    inversion_every: int = setting(
        20, "Iterations from one batch to the next; M_S times this are the student's updates.", at_least=1
    )
    bn_weight: float = setting(
        10.0, "Weight of the BN loss; a teacher without BatchNorm needs 0.", at_least=0
    )
    label_weight: float = setting(
        0.5, "Weight of the cross-entropy to the classes that images are to show.", at_least=0
    )
    adv_weight: float = setting(1.33, "Weight of the adversarial loss.", at_least=0)
    embeddings: str | None = setting(
        None,
        "A NumPy file (.npy) of vectors [classes, width], in the order of the student's classes, such as a "
        "language model's embeddings of their names; empty: one-hot vectors.",
    )
    noisy_layer: NoisyLayer = setting(
        "batchnorm-linear", "What a noisy layer is made of: A1 to A8 of the supplement's Table 5."
    )
    restart_every: int = setting(
        20, "Batches after which the generator starts afresh; the noisy layers always do.", at_least=1
    )

    def generator_objective(self, synthesis: Synthesis) -> Objective:
        """alpha_cls L_cls + alpha_bn L_bn + alpha_adv L_adv."""
        return {
            **labelled(synthesis, weight=self.label_weight),
            **bn_distance(synthesis, weight=self.bn_weight),
            **agreeing_adversary(synthesis, weight=self.adv_weight, tau=self.tau),
        }
