"""Every loss term as a function of tensors. Equation numbers are those of Shi et al., CVPR Workshops 2024.

All reductions run in float32, also inside autocast, and work on log-probabilities, so that a teacher that is
certain about one of a hundred classes gives finite values and gradients.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_label_kl(teacher_logits: Tensor, learner_logits: Tensor, *, tau: float) -> Tensor:
    """KL(teacher || learner) of the softmaxes at temperature `tau`: D in Eqs. (2) and (5).

    Both logits are [batch, classes]; the result is a scalar, the mean over the batch. The paper has no tau**2
    factor, so neither has this.
    """
    teacher = F.log_softmax(teacher_logits.float() / tau, dim=1)
    learner = F.log_softmax(learner_logits.float() / tau, dim=1)
    return F.kl_div(learner, teacher, reduction="batchmean", log_target=True)


def log_of(weight: float | Tensor) -> float | Tensor:
    """The logarithm of a weight, a number or one a sample."""
    return weight.log() if isinstance(weight, Tensor) else math.log(weight)


def mixture_log_probabilities(
    logits: Sequence[Tensor], weights: Sequence[float | Tensor], *, tau: float
) -> Tensor:
    """log sum_k w_k softmax(logits_k / tau), the teachers' averaged soft labels in Eq. (1): [batch, classes].

    A weight is a number, of which zero leaves its teacher out, or one a sample: [batch, 1], above zero.
    """
    mixed = [
        (one.float(), log_of(weight))
        for one, weight in zip(logits, weights, strict=True)
        if isinstance(weight, Tensor) or weight > 0
    ]
    known = F.log_softmax(torch.stack([one for one, _ in mixed]) / tau, dim=2)
    weighted = [one + shift for one, (_, shift) in zip(known, mixed, strict=True)]
    return torch.logsumexp(torch.stack(weighted), dim=0)


def confidence_weights(logits: Sequence[Tensor], weights: Sequence[float]) -> list[Tensor]:
    """Weights w_k(x) in Eq. (1) for each sample, [batch, 1] a teacher, that sum to one over the teachers.
    `weights` are w_k, all above zero.

    w_k(x) is proportional to w_k exp(-H(T_k(x))), H in nats at temperature 1: one over the number of classes
    between which the teacher is undecided. For two teachers with equal w_k these are the weights of Zhang et
    al. (ICASSP 2022, CA-MKD), with the cross-entropy that a teacher expects of itself in place of that
    against the label, which is not known here.
    """
    scores = [math.log(weight) - prediction_entropy(one) for one, weight in zip(logits, weights, strict=True)]
    return list(torch.softmax(torch.stack(scores), dim=0).unsqueeze(2))


def distillation(
    teacher_logits: Sequence[Tensor],
    student_logits: Tensor,
    weights: Sequence[float | Tensor],
    *,
    tau: float,
) -> Tensor:
    """KL(sum_k w_k T_k || S), the first term of Eq. (1); `mixture_log_probabilities` has the weights.

    The teachers' probabilities are averaged and one divergence is taken; a mean of K divergences is another
    loss.
    """
    target = mixture_log_probabilities(teacher_logits, weights, tau=tau)
    learner = F.log_softmax(student_logits.float() / tau, dim=1)
    return F.kl_div(learner, target, reduction="batchmean", log_target=True)


def gaussian_kl(mean: Tensor, variance: Tensor, target_mean: Tensor, target_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(target_mean, target_variance)) per element, Eq. (4)."""
    ratio = variance / target_variance
    return 0.5 * ((mean - target_mean).square() / target_variance + ratio - ratio.log() - 1.0)


def instance_entropy(teacher_logits: Tensor) -> Tensor:
    """Mean entropy in nats of the teacher's prediction for each image: ICE, the second term of Eq. (3)."""
    return prediction_entropy(teacher_logits).mean()


def prediction_entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of each prediction: [batch]."""
    log_probabilities = F.log_softmax(logits.float(), dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1)


def negative_batch_entropy(teacher_logits: Tensor) -> Tensor:
    """Minus the entropy in nats of the teacher's mean prediction over the batch: BCE, the third term of Eq.
    (3)."""
    log_probabilities = F.log_softmax(teacher_logits.float(), dim=1)
    log_mean = torch.logsumexp(log_probabilities, dim=0) - math.log(len(log_probabilities))
    return (log_mean.exp() * log_mean).sum()


def one_hot_loss(teacher_logits: Tensor) -> Tensor:
    """Mean cross-entropy in nats between the teacher's prediction for each image and its own first choice:
    L_oh of DAFL (Chen et al., ICCV 2019)."""
    logits = teacher_logits.float()
    return F.cross_entropy(logits, logits.detach().argmax(dim=1))


def label_loss(teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats between the teacher's prediction for each image and the class [batch] that
    it is to show: L of DeepInversion (Yin et al., CVPR 2020), L_cls of CMI (Fang et al., IJCAI 2021)."""
    return F.cross_entropy(teacher_logits.float(), labels)


def total_variation(images: Tensor) -> Tensor:
    """R_TV of DeepInversion: over the four directions in which pixels have neighbours (down, right and both
    diagonals) the sum of the Euclidean norms of all differences in the batch [batch, channels, height,
    width]."""
    x = images.float()
    differences = (
        x[..., 1:, :] - x[..., :-1, :],
        x[..., 1:] - x[..., :-1],
        x[..., 1:, 1:] - x[..., :-1, :-1],
        x[..., 1:, :-1] - x[..., :-1, 1:],
    )
    return torch.stack([torch.linalg.vector_norm(one) for one in differences]).sum()


def image_norm(images: Tensor) -> Tensor:
    """R_l2 of DeepInversion: the Euclidean norm of a whole batch."""
    return torch.linalg.vector_norm(images.float())  # type: ignore[no-any-return]


def moment_distance(mean: Tensor, variance: Tensor, target_mean: Tensor, target_variance: Tensor) -> Tensor:
    """|mean - target_mean| + |variance - target_variance|, Euclidean norms over the channels of one layer:
    its part of R_feature of DeepInversion (Eq. 4) and of L_bn of CMI. A scalar."""
    shift = torch.linalg.vector_norm(mean - target_mean)
    return shift + torch.linalg.vector_norm(variance - target_variance)  # type: ignore[no-any-return]


def negative_activation(teacher_features: Tensor) -> Tensor:
    """Minus the mean absolute value of the teacher's pooled last map [batch, channels, height, width]: L_a of
    DAFL, per channel."""
    return -teacher_features.float().mean(dim=(2, 3)).abs().mean()


def adversarial(teacher_logits: Tensor, critic_logits: Tensor, *, tau: float) -> Tensor:
    """Minus the divergence between the teacher and the generator's critic, Eq. (5): in DFMF the GA, in DFQ
    and ZSKT the student."""
    return -soft_label_kl(teacher_logits, critic_logits, tau=tau)


def disagreements(teacher_logits: Tensor, critic_logits: Tensor, *, tau: float) -> Tensor:
    """`adversarial` of many batches at once, up to rounding: [batches, batch, classes] to [batches]."""
    return -_divergences(teacher_logits, critic_logits, tau).mean(dim=1)


def agreeing_adversarial(teacher_logits: Tensor, critic_logits: Tensor, *, tau: float) -> Tensor:
    """Minus the mean over the batch of the divergences of those images whose class teacher and critic agree
    on, the others counting as zero: L_adv of CMI (Fang et al., IJCAI 2021), so that the images stay what
    they are to show."""
    agree = teacher_logits.argmax(dim=1) == critic_logits.argmax(dim=1)
    return -(_divergences(teacher_logits, critic_logits, tau) * agree).mean()


def _divergences(teacher_logits: Tensor, critic_logits: Tensor, tau: float) -> Tensor:
    """`soft_label_kl` of each image: [..., classes] to [...]."""
    teacher = F.log_softmax(teacher_logits.float() / tau, dim=-1)
    critic = F.log_softmax(critic_logits.float() / tau, dim=-1)
    return F.kl_div(critic, teacher, reduction="none", log_target=True).sum(dim=-1)


def competitive(teacher_logits: Tensor, critic_logits: Tensor, *, tau: float) -> Tensor:
    """1 - JS of the softmaxes at temperature `tau`, the mean over the batch: R_compete of Adaptive
    DeepInversion (Yin et al., CVPR 2020, Eqs. 7 and 8).

    JS = (KL(T || M) + KL(S || M)) / 2 in nats, M the mean of both. So it is 1 where teacher and critic agree
    and never below 1 - log 2.
    """
    logits = (teacher_logits, critic_logits)
    middle = mixture_log_probabilities(logits, (0.5, 0.5), tau=tau)
    sides = [F.log_softmax(one.float() / tau, dim=1) for one in logits]
    divergences = [F.kl_div(middle, one, reduction="batchmean", log_target=True) for one in sides]
    return 1.0 - 0.5 * (divergences[0] + divergences[1])


def contrastive(local: Tensor, whole: Tensor, batch: int, *, temperature: float) -> Tensor:
    """L_cr of CMI: how badly each image's local view [batch + others, width] is told from the whole views of
    all other images by its similarity to its own. Embeddings have length one.

    The cross-entropies in nats are averaged over the `batch` new images and over the others, and the two
    means added. No gradient goes through the whole views.
    """
    similarities = local.float() @ whole.detach().float().T / temperature
    each = F.cross_entropy(similarities, torch.arange(len(local), device=local.device), reduction="none")
    new, others = each[:batch].mean(), each[batch:]
    return new + others.mean() if len(others) else new


def gaussian_nll(prediction: Tensor, target: Tensor, variance: Tensor) -> Tensor:
    """((target - prediction)**2 / variance + log variance) / 2, its mean over the images and places: one
    entry a channel, as `variance` has. VID (Ahn et al., CVPR 2019, Eq. 5) is their mean.

    `prediction` and `target` are [batch, channels, height, width].
    """
    errors: Tensor = _MeanSquare.apply(prediction.float() - target.float())  # type: ignore[no-untyped-call]
    variance = variance.float()
    return 0.5 * (errors / variance + variance.log())


class _MeanSquare(torch.autograd.Function):
    """Mean square [channels] of [batch, channels, height, width]; autograd's own gradient has the same bits
    and takes three passes over the map where this takes one."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)
        return inputs.square().mean(dim=(0, 2, 3))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        (inputs,) = ctx.saved_tensors
        count = inputs.numel() // inputs.shape[1]
        slope = 2.0 * (gradients[0] / count)
        return torch.mul(inputs, slope.view(1, -1, 1, 1))
