"""Parts of generators' objectives that several methods share, as named terms."""

from fusion.batchnorm import BnReduction, bn_divergence
from fusion.losses import adversarial, instance_entropy, negative_batch_entropy
from fusion.method import Synthesis
from fusion.objective import Objective, Term


def adversary(synthesis: Synthesis, *, tau: float) -> Objective:
    """L^A, Eq. (5), against the method's critic."""
    assert synthesis.critic_logits is not None
    return {"adv": Term(1.0, adversarial(synthesis.teacher_logits, synthesis.critic_logits, tau=tau))}


def bn_distance(synthesis: Synthesis, *, weight: float) -> Objective:
    """`weight` times the layers' divergences, summed; nothing for a teacher without BatchNorm."""
    if not synthesis.bn_divergences:
        return {}
    return {"bn": Term(weight, bn_divergence(synthesis.bn_divergences, "sum"))}


def fidelity(synthesis: Synthesis, *, weight: float, bn_reduction: BnReduction) -> Objective:
    """`weight` L^F, Eq. (3), which has no BN term for a teacher without BatchNorm."""
    objective = {
        "ice": Term(weight, instance_entropy(synthesis.teacher_logits)),
        "bce": Term(weight, negative_batch_entropy(synthesis.teacher_logits)),
    }
    if synthesis.bn_divergences:
        objective["bn"] = Term(weight, bn_divergence(synthesis.bn_divergences, bn_reduction))
    return objective
