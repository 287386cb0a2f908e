"""What looks wrong with a classifier before it is fused, by its weights and by what it says of noise.

None of this shows that a classifier is sound: a poisoned one can pass all of it (docs/security.md).
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fusion.networks import Classifier, frozen
from fusion.teachers import Teacher

IMAGES = 32
DEAD_ROW = 0.01
"""Of the median length: rows that were trained differ by a factor of a few."""
SAME_ROWS = 0.9999
"""Cosine: in the 64 or more dimensions of our networks' last layers, two trained rows never come near it."""
CONSTANT = 1e-3
"""Of the spread between classes: rounding moves logits by about 1e-6 of it, another image by more than
1e-2."""
LARGE = 1e3
LARGE_FOR_ITS_TENSOR = 100.0
"""Root mean squares: of normal weights none in 1e20 is beyond 10; trained layers go to a few tens."""
FAINT = 0.02
"""Of the deviation that pixels can have: the digits have 0.3, and those taken for 0 to 255 a 255th of it."""
OUTSIDE = 0.05
"""How far from [0, 1] a mean of pixels may seem to be: padding at the borders moves it by a few
hundredths."""


@dataclasses.dataclass(frozen=True)
class Found:
    """Something that looks wrong."""

    teacher: str
    check: str
    message: str
    value: float
    limit: float


def screen(teacher: Teacher) -> list[Found]:
    """What looks wrong with one classifier."""
    classifier = frozen(teacher.build())
    noise = noise_for(teacher)
    trace = _traced(classifier, noise[:2])
    found = [*_normalisation(teacher, trace), *_classes(teacher, trace), *_extreme(teacher)]
    return [*found, *_constant(teacher, classifier, noise)]


def noise_for(teacher: Teacher) -> Tensor:
    """Images in [0, 1], [IMAGES, channels, size, size]: from fine grain to large spots, faint to full."""
    spec, stream = teacher.spec, torch.Generator().manual_seed(0)
    images = []
    for index in range(IMAGES):
        side = max(2, spec.size >> index % 4)
        spots = torch.rand(1, spec.channels, side, side, generator=stream)
        spots = nn.functional.interpolate(spots, spec.size, mode="bilinear", align_corners=False)
        contrast = 0.25 + 0.75 * (index // 4 % 4) / 3
        images.append(0.5 + contrast * (spots - 0.5))
    return torch.cat(images)


@torch.no_grad()
def _traced(classifier: Classifier, images: Tensor) -> list[nn.Module]:
    """Convolutions, linear layers and BatchNorms in the order in which they work."""
    order: list[nn.Module] = []
    kinds = (nn.Conv2d, nn.Linear, _BatchNorm)
    hooks = [
        module.register_forward_hook(lambda module, *_: order.append(module))
        for module in classifier.modules()
        if isinstance(module, kinds)
    ]
    try:
        classifier(images)
    finally:
        for hook in hooks:
            hook.remove()
    return order


def _normalisation(teacher: Teacher, trace: Sequence[nn.Module]) -> list[Found]:
    """The first BatchNorm says what mean and deviation the training images had after the first convolution.

    From its means follows, by least squares, the mean p of the pixels, which must lie in [0, 1]; pixels in
    [0, 1] of mean p deviate by at most sqrt(p (1 - p)) (Bhatia and Davis, 2000), and a weighted sum of them
    by at most the sum of the weights' magnitudes times that.
    """
    if len(trace) < 2 or not isinstance(trace[0], nn.Conv2d) or not isinstance(trace[1], _BatchNorm):
        return []
    convolution, norm = trace[0], trace[1]
    if convolution.groups != 1 or norm.running_mean is None or norm.running_var is None:
        return []
    means, deviations = norm.running_mean.double(), norm.running_var.double().sqrt()
    if bool((means == 0).all()) and bool((deviations == 1).all()):
        return []  # Never trained; `inspect` says so.
    if convolution.bias is not None:
        means = means - convolution.bias.double()
    weight = convolution.weight.double()
    sums = weight.sum(dim=(2, 3))
    mean, std = (torch.tensor(one, dtype=torch.float64) for one in (teacher.spec.mean, teacher.spec.std))
    pixels = mean + std * torch.linalg.lstsq(sums, means.unsqueeze(1), driver="gelsd").solution.squeeze(1)
    outside = float(torch.maximum(-pixels, pixels - 1).max())
    found = []
    if outside > OUTSIDE:
        said = ", ".join(f"{value:.2f}" for value in pixels.tolist())
        message = (
            f"its first BatchNorm saw pixels of mean {said}, but with this mean and std they are in [0, 1]"
        )
        found.append(Found(teacher.name, "normalisation", message, outside, OUTSIDE))
    held = pixels.clamp(OUTSIDE, 1 - OUTSIDE)
    most = (weight.abs().sum(dim=(2, 3)) * ((held * (1 - held)).sqrt() / std)).sum(dim=1)
    ratio = float((deviations / most.clamp_min(1e-12)).median())
    if ratio > 1:
        message = (
            f"its first BatchNorm saw {ratio:.1f} times the deviation that pixels in [0, 1] can have "
            "with this mean and std"
        )
        found.append(Found(teacher.name, "normalisation", message, ratio, 1.0))
    elif ratio < FAINT:
        message = (
            f"its first BatchNorm saw next to no deviation for this mean and std: {ratio:.3f} of what can be"
        )
        found.append(Found(teacher.name, "normalisation", message, ratio, FAINT))
    return found


def _classes(teacher: Teacher, trace: Sequence[nn.Module]) -> list[Found]:
    """Rows of the last layer that are almost 0, or those of another class."""
    last = next((one for one in reversed(trace) if isinstance(one, (nn.Linear, nn.Conv2d))), None)
    if last is None or last.weight.shape[0] != len(teacher.spec.classes):
        return []
    rows = last.weight.detach().double().flatten(1)
    if last.bias is not None:
        rows = torch.cat([rows, last.bias.detach().double().unsqueeze(1)], dim=1)
    lengths, names = rows.norm(dim=1), teacher.spec.classes
    shares = lengths / lengths.median().clamp_min(1e-12)
    found = [
        Found(
            teacher.name,
            "dead class",
            f"the row of {names[index]!r} is almost 0",
            float(shares[index]),
            DEAD_ROW,
        )
        for index in (shares < DEAD_ROW).nonzero().flatten().tolist()
    ]
    unit = rows / lengths.clamp_min(1e-12).unsqueeze(1)
    for index in range(len(names) - 1):
        if shares[index] < DEAD_ROW:
            continue
        cosines = unit[index + 1 :] @ unit[index]
        alike = (cosines > SAME_ROWS) & ((shares[index + 1 :] / shares[index] - 1).abs() < 0.01)
        for other in alike.nonzero().flatten().tolist():
            message = f"the rows of {names[index]!r} and {names[index + 1 + other]!r} are the same"
            found.append(Found(teacher.name, "duplicated class", message, float(cosines[other]), SAME_ROWS))
    return found


def _extreme(teacher: Teacher) -> list[Found]:
    """Single weights that are out of all proportion."""
    found = []
    for name, tensor in teacher.weights.items():
        if not tensor.is_floating_point() or "running_" in name or tensor.numel() == 0:
            continue
        largest = float(tensor.abs().max())
        typical = float(tensor.double().square().mean().sqrt())
        if largest > LARGE:
            found.append(Found(teacher.name, "extreme weight", f"{name} holds {largest:.3g}", largest, LARGE))
        elif typical > 0 and largest / typical > LARGE_FOR_ITS_TENSOR:
            message = f"{name} holds {largest:.3g}, {largest / typical:.0f} times its root mean square"
            found.append(
                Found(teacher.name, "extreme weight", message, largest / typical, LARGE_FOR_ITS_TENSOR)
            )
    return found


@torch.no_grad()
def _constant(teacher: Teacher, classifier: Classifier, noise: Tensor) -> list[Found]:
    logits = classifier(noise).logits.double()
    spread = float(logits.mean(dim=0).std())
    moved = float(logits.std(dim=0).max()) / max(spread, 1e-12)
    if moved >= CONSTANT:
        return []
    message = f"says the same of {len(noise)} different images of noise"
    return [Found(teacher.name, "constant outputs", message, moved, CONSTANT)]
