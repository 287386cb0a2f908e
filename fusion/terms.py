"""Parts of generators' objectives that several methods share, as named terms."""

from fusion.batchnorm import BnReduction, bn_divergence
from fusion.losses import (
    adversarial,
    agreeing_adversarial,
    competitive,
    contrastive,
    instance_entropy,
    label_loss,
    negative_batch_entropy,
)
from fusion.method import Synthesis
from fusion.objective import Objective, Term


def adversary(synthesis: Synthesis, *, tau: float) -> Objective:
    """L^A, Eq. (5), against the method's critic."""
    assert synthesis.critic_logits is not None
    return {"adv": Term(1.0, adversarial(synthesis.teacher_logits, synthesis.critic_logits, tau=tau))}


def agreeing_adversary(synthesis: Synthesis, *, weight: float, tau: float) -> Objective:
    """`weight` L_adv of CMI, against the method's critic."""
    assert synthesis.critic_logits is not None
    value = agreeing_adversarial(synthesis.teacher_logits, synthesis.critic_logits, tau=tau)
    return {"adv": Term(weight, value)}


def competition(synthesis: Synthesis, *, weight: float, tau: float) -> Objective:
    """`weight` R_compete of Adaptive DeepInversion, against the method's critic."""
    assert synthesis.critic_logits is not None
    value = competitive(synthesis.teacher_logits, synthesis.critic_logits, tau=tau)
    return {"compete": Term(weight, value)}


def labelled(synthesis: Synthesis, *, weight: float) -> Objective:
    """`weight` times the cross-entropy to the classes that the images are to show."""
    assert synthesis.labels is not None
    return {"ice": Term(weight, label_loss(synthesis.teacher_logits, synthesis.labels))}


def contrast(synthesis: Synthesis, *, weight: float, temperature: float) -> Objective:
    """`weight` L_cr of CMI."""
    assert synthesis.views is not None
    batch = len(synthesis.teacher_logits)
    return {"cr": Term(weight, contrastive(*synthesis.views, batch, temperature=temperature))}


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
