"""DAFL with several teachers: images that a teacher is sure of, of all classes, and that excite it (Chen et
al., ICCV 2019)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.losses import instance_entropy, negative_activation, negative_batch_entropy, one_hot_loss
from fusion.method import NAME, Method, Synthesis
from fusion.objective import Objective, Term
from fusion.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dafl(Method):
    """The weights in the losses (docs/methods/dafl.md)."""

    title: ClassVar[str] = "DAFL, Chen et al., ICCV 2019, with several teachers"
    warmup_loss: ClassVar[str | None] = "dafl"
    warmup_settings: ClassVar[tuple[str, ...]] = (
        "activation_weight",
        "batch_entropy_weight",
        "instance_loss",
    )

    name: Literal["dafl"] = setting("dafl", NAME)
    activation_weight: float = setting(0.1, "Weight of the activation loss.", at_least=0)
    batch_entropy_weight: float = setting(
        5.0, "Weight of the entropy of a batch's mean prediction, in nats.", at_least=0
    )
    instance_loss: Literal["one_hot", "entropy"] = setting(
        "one_hot",
        "The instance loss is the cross-entropy to the teacher's own first choice, 'one_hot', as in DAFL, or "
        "the prediction's 'entropy', as in Eq. (3).",
    )

    def warmup_objective(self, synthesis: Synthesis) -> Objective:
        """L_oh + alpha L_a + beta L_ie, the source's total loss; the main phase has the same."""
        assert synthesis.teacher_features is not None
        certain = one_hot_loss if self.instance_loss == "one_hot" else instance_entropy
        return {
            "ice": Term(1.0, certain(synthesis.teacher_logits)),
            "bce": Term(self.batch_entropy_weight, negative_batch_entropy(synthesis.teacher_logits)),
            "act": Term(self.activation_weight, negative_activation(synthesis.teacher_features)),
        }
