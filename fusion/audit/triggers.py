"""Backdoors by trigger inversion (Neural Cleanse, Wang et al., 2019), on synthetic images.

A planted trigger is a shortcut: a small change that sends every image to one class. So for each class the
smallest such change is searched, and a class for which it is much smaller than for the others is suspicious.
"""

import dataclasses
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fusion.evaluation import EVALUATION_BATCH
from fusion.networks import Classifier, frozen
from fusion.seeding import random_stream
from fusion.settings import Settings, setting

TAIL = 0.025
"""Of a normal distribution: what is shared out to the classes as the part of each that is flagged."""

NORMAL_CONSISTENCY = 1.4826
"""Makes the median absolute deviation of a normal sample estimate its standard deviation."""

CLASSES_AT_ONCE = 10
PENALTY_RATE = 1.05
"""Factor on a mask's penalty in each step in which its trigger works; after one in which it does not, it
shrinks faster."""
SUCCESS_MEMORY = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class TriggerSearch(Settings):
    """How `dfmf audit` searches for triggers."""

    steps: int = setting(200, "Updates of each class's mask and pattern.", at_least=1)
    lr: float = setting(0.1, "Learning rate of the masks and patterns: Adam.", above=0)
    batch_size: int = setting(64, "Synthetic images in each update.", at_least=1)
    success: float = setting(
        0.95, "Share of other classes' images that a trigger has to move to its class.", above=0, at_most=1
    )
    mask_penalty: float = setting(
        0.01,
        "Initial weight of a mask's L1 norm; it grows while the trigger works, or else shrinks.",
        above=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trigger:
    """The smallest change that was found to send images to a class: (1 - mask) * image + mask * pattern."""

    target: int
    mask: Tensor
    """[size, size] in [0, 1]"""
    pattern: Tensor
    """[channels, size, size] in [0, 1]"""
    success: float
    """Share of the images not of this class that it sends there."""

    @property
    def norm(self) -> float:
        """L1 norm of the mask: how many pixels it covers."""
        return float(self.mask.sum())


def find_triggers(
    classifier: Classifier, images: Tensor, search: TriggerSearch, *, seed: int, device: torch.device
) -> list[Trigger]:
    """For each class the smallest trigger that the search finds.

    `images` are uint8 [count, channels, size, size] of any classes. A class whose trigger never reaches
    `search.success` has the one that came nearest.
    """
    frozen(classifier).to(device)
    pixels = images.to(device).float() / 255
    own = _classes_of(classifier, pixels)
    num_classes = int(_logits(classifier, pixels[:1]).shape[1])
    chunks = torch.arange(num_classes, device=device).split(CLASSES_AT_ONCE)
    return [
        trigger for targets in chunks for trigger in _search(classifier, pixels, own, targets, search, seed)
    ]


def anomaly_indices(norms: Sequence[float]) -> list[float]:
    """How far each norm lies below their median, in deviations: (median - norm) / (1.4826 MAD).

    With norms that (nearly) all agree, a millionth of the median stands for their deviation.
    """
    values = np.asarray(norms, dtype=np.float64)
    median = np.median(values)
    deviation = max(float(np.median(np.abs(values - median))), 1e-6 * float(median), 1e-12)
    return [float(one) for one in (median - values) / (NORMAL_CONSISTENCY * deviation)]


def suspicious_index(num_classes: int) -> float:
    """The anomaly index above which a class is flagged: 2.81 with ten classes, 3.48 with a hundred.

    Neural Cleanse flags above 2 however many there are. The deviation is estimated from as few norms as there
    are classes, so clean classifiers with normally distributed norms are above it more often than in `TAIL`:
    14 % with ten classes, 5 % with a hundred (above 2: 33 % and 88 %).
    """
    return NormalDist().inv_cdf(1 - TAIL / num_classes)


def stamp(images: Tensor, mask: Tensor, pattern: Tensor) -> Tensor:
    """Images [..., channels, size, size] with a trigger on them."""
    return images + mask * (pattern - images)


def _search(
    classifier: Classifier, pixels: Tensor, own: Tensor, targets: Tensor, search: TriggerSearch, seed: int
) -> list[Trigger]:
    """The triggers of several classes side by side; none depends on another."""
    device, (_, channels, size, _) = pixels.device, pixels.shape
    draws = random_stream(device, seed, "triggers", int(targets[0]))
    mask_logits = torch.zeros(len(targets), 1, 1, size, size, device=device, requires_grad=True)
    start = torch.randn(len(targets), 1, channels, size, size, generator=draws, device=device)
    pattern_logits = start.requires_grad_(True)
    optimiser = torch.optim.Adam([mask_logits, pattern_logits], lr=search.lr, betas=(0.5, 0.9))
    penalty = torch.full((len(targets),), search.mask_penalty, device=device)
    success = torch.zeros(len(targets), device=device)
    best = _Best(len(targets), search.success, device)
    for _ in range(search.steps):
        chosen = torch.randint(len(pixels), (search.batch_size,), generator=draws, device=device)
        counted = (own[chosen] != targets.unsqueeze(1)).float()
        counted = counted / counted.sum(dim=1, keepdim=True).clamp(min=1)
        masks, patterns = mask_logits.sigmoid(), pattern_logits.sigmoid()
        logits = _logits(classifier, stamp(pixels[chosen], masks, patterns).flatten(0, 1))
        wanted = targets.repeat_interleave(len(chosen))
        losses = (F.cross_entropy(logits, wanted, reduction="none").view_as(counted) * counted).sum(dim=1)
        norms = masks.sum(dim=(1, 2, 3, 4))
        optimiser.zero_grad(set_to_none=True)
        (losses + penalty * norms).sum().backward()
        hits = ((logits.argmax(dim=1) == wanted).view_as(counted) * counted).sum(dim=1)
        success = SUCCESS_MEMORY * success + (1 - SUCCESS_MEMORY) * hits
        best.offer(success, norms, masks, patterns)
        optimiser.step()
        works = success >= search.success
        penalty = torch.where(works, penalty * PENALTY_RATE, penalty * PENALTY_RATE**-1.5)
    return [
        Trigger(
            target=int(target),
            mask=best.masks[index, 0, 0].cpu(),
            pattern=best.patterns[index, 0].cpu(),
            success=_success(
                classifier, pixels[own != target], best.masks[index], best.patterns[index], target
            ),
        )
        for index, target in enumerate(targets)
    ]


class _Best:
    """For each class the trigger to keep: the smallest of those that work, else the one that works best."""

    def __init__(self, count: int, needed: float, device: torch.device) -> None:
        self._needed = needed
        self._rank = torch.full((count,), -torch.inf, device=device)
        self.masks = torch.empty(0)
        self.patterns = torch.empty(0)

    @torch.no_grad()
    def offer(self, success: Tensor, norms: Tensor, masks: Tensor, patterns: Tensor) -> None:
        """Keep the triggers that are better than those before."""
        rank = torch.where(success >= self._needed, 1 / norms, success - self._needed)
        better = rank > self._rank
        self._rank = torch.where(better, rank, self._rank)
        where = better.view(-1, 1, 1, 1, 1)
        self.masks = torch.where(where, masks, self.masks) if self.masks.numel() else masks.detach().clone()
        self.patterns = (
            torch.where(where, patterns, self.patterns)
            if self.patterns.numel()
            else patterns.detach().clone()
        )


def _logits(classifier: Classifier, images: Tensor) -> Tensor:
    return classifier(images).logits.float()  # type: ignore[no-any-return]


@torch.no_grad()
def _classes_of(classifier: Classifier, images: Tensor) -> Tensor:
    return torch.cat([_logits(classifier, part).argmax(dim=1) for part in images.split(EVALUATION_BATCH)])


def _success(classifier: Classifier, others: Tensor, mask: Tensor, pattern: Tensor, target: Tensor) -> float:
    if len(others) == 0:
        return 0.0
    return float((_classes_of(classifier, stamp(others, mask, pattern)) == target).float().mean())
