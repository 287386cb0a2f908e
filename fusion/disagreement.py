"""Which of several teachers says other things than its fellows, on images that are made without data."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusion.batchnorm import BnWatch, bn_divergence
from fusion.networks import frozen
from fusion.screening import IMAGES, Found, noise_for
from fusion.teachers import Teacher

INVERSION_STEPS = 40
FAR_BELOW = 0.2
"""How much less a teacher agrees with its nearest fellow than any other with its own. Three honest teachers
of the digits agreed by 0.27 to 0.45, and by -0.06 to 0.01 with one whose classes were shifted by one."""


def synthesise(teacher: Teacher) -> Tensor:
    """Images for which a teacher is sure of one class each and which have its BatchNorm's statistics, found
    from noise by gradient descent: [IMAGES, channels, size, size] in [0, 1]."""
    watch = BnWatch(frozen(teacher.build()))
    raw = torch.logit(noise_for(teacher).clamp(0.05, 0.95)).requires_grad_()
    targets = torch.arange(IMAGES) % len(teacher.spec.classes)
    optimiser = torch.optim.Adam([raw], lr=0.1)
    for _ in range(INVERSION_STEPS):
        prediction, divergences = watch(raw.sigmoid())
        loss = nn.functional.cross_entropy(prediction.logits, targets)
        if divergences:
            loss = loss + bn_divergence(divergences, "mean")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return raw.detach().sigmoid()


def disagreement(teachers: Sequence[Teacher]) -> list[Found]:
    """Teachers that agree with their nearest fellow far less than all others do with theirs.

    The agreement of two is the correlation of their logits over the classes that both know, on the synthetic
    images of all, after the mean of each image and that of each class are taken off. With two teachers nobody
    can say who errs, nor of one that shares fewer than two classes with every other.
    """
    if len(teachers) < 3:
        return []
    images = torch.cat([synthesise(one) for one in teachers])
    with torch.no_grad():
        logits = [one.build()(images).logits.double() for one in teachers]
    nearest: dict[int, float] = {}
    for (first, mine), (second, theirs) in itertools.combinations(enumerate(teachers), 2):
        common = [name for name in mine.spec.classes if name in theirs.spec.classes]
        if len(common) < 2:
            continue
        one, other = (
            _centred(logits[index][:, [teacher.spec.classes.index(name) for name in common]])
            for index, teacher in ((first, mine), (second, theirs))
        )
        agreement = float(nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))
        for index in (first, second):
            nearest[index] = max(nearest.get(index, -1.0), agreement)
    found = []
    for index, agreement in nearest.items():
        others = [value for other, value in nearest.items() if other != index]
        limit = min(others) - FAR_BELOW
        if len(others) > 1 and agreement < limit:
            message = "says other things than all other teachers of synthetic images"
            found.append(Found(teachers[index].name, "disagreement", message, agreement, limit))
    return found


def _centred(logits: Tensor) -> Tensor:
    logits = logits - logits.mean(dim=1, keepdim=True)
    return logits - logits.mean(dim=0)
