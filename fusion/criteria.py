"""How good a student is, without labels: what it and the teachers say of synthetic images.

Logits are [images, classes]. The ensemble is given by its log-probabilities
(`fusion.evaluation.ensemble_logits`); entropies and divergences are in nats, at temperature 1. What each of
them is worth was measured: docs/choosing.md.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fusion.evaluation import agreement, percent
from fusion.losses import mixture_log_probabilities


@dataclasses.dataclass(frozen=True)
class Criterion:
    """How a criterion is to be read."""

    better: Literal["higher", "lower"]
    of_student: bool = True
    """Whether it tells students apart on the same images; the others describe the images."""


CRITERIA: Mapping[str, Criterion] = {
    "agreement": Criterion("higher"),
    "balanced_agreement": Criterion("higher"),
    "disputed_agreement": Criterion("higher"),
    "divergence": Criterion("lower"),
    "student_entropy": Criterion("lower"),
    "class_coverage": Criterion("higher"),
    "image_coverage": Criterion("higher", of_student=False),
    "teacher_disagreement": Criterion("lower", of_student=False),
}


def balanced_agreement(student: Tensor, ensemble: Tensor) -> float:
    """Agreement within each class that the ensemble names, averaged over these classes: 0 to 100 percent,
    higher is better.

    Generators do not make all classes equally often; here a class that is rare among the images, and that
    the student has lost, costs as much as any other.
    """
    named = ensemble.argmax(dim=1)
    hits = student.argmax(dim=1) == named
    return sum(percent(hits[named == label]) for label in named.unique()) / len(named.unique())


def disputed_agreement(student: Tensor, ensemble: Tensor, teachers: Sequence[Tensor]) -> float:
    """Agreement on the images of which not all teachers name the same class: 0 to 100 percent, higher is
    better; NaN where there are none.

    On the others a student that has copied a single teacher agrees as well.
    """
    named = torch.stack([one.argmax(dim=1) for one in teachers])
    disputed = (named != named[0]).any(dim=0)
    return agreement(student[disputed], ensemble[disputed]) if bool(disputed.any()) else math.nan


def divergence(student: Tensor, ensemble: Tensor) -> float:
    """Mean KL(ensemble || student): 0 (the same predictions) upwards, lower is better.

    The first term of Eq. (1) at temperature 1, on images that were not trained on.
    """
    learner = F.log_softmax(student.double(), dim=1)
    mean = F.kl_div(learner, ensemble.double(), reduction="batchmean", log_target=True)
    return float(mean.clamp(min=0))  # Rounding.


def mean_entropy(logits: Tensor) -> float:
    """Mean over the images of H(p): 0 to ln C, lower is better.

    Entropy chooses among models in unsupervised domain adaptation (Morerio, Cavazza, Murino, ICLR 2018). It
    does not ask whether the student is right.
    """
    return float(torch.special.entr(logits.double().softmax(dim=1)).sum(dim=1).mean())


def class_coverage(logits: Tensor) -> float:
    """H(mean over the images of p) / ln C: 0 (always the same class) to 1 (all classes equally often),
    higher is better.

    The diversity term of information maximisation (Bridle, Heading, MacKay, NIPS 1991), and of Eq. (3).
    """
    mean = logits.double().softmax(dim=1).mean(dim=0)
    return float(torch.special.entr(mean).sum()) / math.log(logits.shape[1])


def teacher_disagreement(teachers: Sequence[Tensor], weights: Sequence[float]) -> float:
    """Mean generalised Jensen-Shannon divergence, H(sum_k w_k p_k) - sum_k w_k H(p_k) (Lin, 1991): 0 to
    ln K.

    Taken as better when lower: of images like those that they were trained on, good classifiers say the
    same. The adversarial loss pulls the other way.
    """
    mixture = mean_entropy(mixture_log_probabilities(teachers, weights, tau=1.0))
    return mixture - sum(
        weight * mean_entropy(one) for one, weight in zip(teachers, weights, strict=True) if weight > 0
    )


def measure_criteria(
    student: Tensor, teachers: Sequence[Tensor], weights: Sequence[float], ensemble: Tensor
) -> dict[str, float | None]:
    """All of `CRITERIA` for a student's and its teachers' logits on the same images; None for one that has
    no value.

    The teachers' are over the student's classes, -inf at those that one does not know. A teacher of weight 0
    is left out.
    """
    heard = [(one, weight) for one, weight in zip(teachers, weights, strict=True) if weight > 0]
    asked, shares = [one for one, _ in heard], [weight for _, weight in heard]
    values = {
        "agreement": agreement(student, ensemble),
        "balanced_agreement": balanced_agreement(student, ensemble),
        "disputed_agreement": disputed_agreement(student, ensemble, asked),
        "divergence": divergence(student, ensemble),
        "student_entropy": mean_entropy(student),
        "class_coverage": class_coverage(student),
        "image_coverage": class_coverage(ensemble),
        "teacher_disagreement": teacher_disagreement(asked, shares),
    }
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
