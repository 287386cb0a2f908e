"""Transfer sets out of unrelated images: balanced by what teachers see in them, and how far from real data
(Nayak, Mopuri, Chakraborty, WACV 2021)."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from fusion.networks import Classifier, ImageSpec

DISTANCE_BATCH = 512


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A transfer set out of several sources."""

    places: list[Tensor]
    """By source: which of its images, int64."""
    frequencies: list[list[int]]
    """By source: how many of its images the teachers see in each class."""

    def counts(self, labels: Sequence[Tensor], num_classes: int) -> list[int]:
        """Images of each class; `labels` as in `choose`."""
        kept = torch.cat([one[where] for one, where in zip(labels, self.places, strict=True)])
        return torch.bincount(kept, minlength=num_classes).tolist()


def choose(
    labels: Sequence[Tensor],
    num_classes: int,
    *,
    most: int,
    balanced: bool,
    stream: torch.Generator,
    among: int | None = None,
) -> Chosen:
    """At most `most` images of sources whose teachers' predictions are `labels`, int64 [count] each; only of
    the first `among` classes, or of all.

    Balanced (Algorithm 1 of the source): at most most / among of each class, of the first source at random,
    then of the next ones what is missing. Otherwise `most` of all, at random.
    """
    frequencies = [torch.bincount(one, minlength=num_classes).tolist() for one in labels]
    wanted = among or num_classes
    if not balanced:
        return Chosen(_any([one < wanted for one in labels], most, stream), frequencies)
    room = [most // wanted] * wanted + [0] * (num_classes - wanted)
    places = []
    for one in labels:
        order = torch.randperm(len(one), generator=stream)
        kept = []
        for label in range(num_classes):
            members = order[one[order] == label][: room[label]]
            room[label] -= len(members)
            kept.append(members)
        places.append(torch.cat(kept))
    return Chosen(places, frequencies)


def _any(allowed: Sequence[Tensor], most: int, stream: torch.Generator) -> list[Tensor]:
    members = torch.cat(list(allowed)).nonzero().flatten()
    drawn = members[torch.randperm(len(members), generator=stream)[:most]].sort().values
    first, places = 0, []
    for one in allowed:
        inside = (drawn >= first) & (drawn < first + len(one))
        places.append(drawn[inside] - first)
        first += len(one)
    return places


def dealt(labels: Tensor, parties: int, stream: torch.Generator) -> list[Tensor]:
    """The places of images with these labels, dealt out to parties class by class: all get equally many, of
    each class as many as of any other party up to one. Up to parties - 1 images are left over."""
    shuffled = torch.randperm(len(labels), generator=stream)
    order = shuffled[labels[shuffled].argsort(stable=True)]
    order = order[: len(order) - len(order) % parties]
    return [order[party::parties] for party in range(parties)]


def noise_images(count: int, spec: ImageSpec, stream: torch.Generator) -> Tensor:
    """Uniform pixels, uint8 [count, channels, size, size]."""
    shape = (count, spec.channels, spec.size, spec.size)
    return torch.randint(256, shape, generator=stream, dtype=torch.uint8)


@torch.no_grad()
def embeddings(classifier: Classifier, images: Tensor, device: torch.device) -> Tensor:
    """The pooled last convolutional maps of uint8 images: [count, channels] on the CPU. Of a ResNet what its
    last layer takes, as in the source."""
    classifier.eval()
    found = [
        classifier(batch.to(device).float() / 255).features.float().mean(dim=(2, 3)).cpu()
        for batch in images.split(DISTANCE_BATCH)
    ]
    return torch.cat(found)


def hausdorff(one: Tensor, other: Tensor) -> float:
    """The Hausdorff distance of two sets of points [count, dimensions]: how far the point of either set that
    is farthest from the other set is from it."""
    nearest_in_other, nearest_in_one = [], torch.full((len(other),), torch.inf)
    for batch in one.split(DISTANCE_BATCH):
        distances = torch.cdist(batch, other, compute_mode="donot_use_mm_for_euclid_dist")
        nearest_in_other.append(distances.amin(dim=1))
        nearest_in_one = torch.minimum(nearest_in_one, distances.amin(dim=0))
    return float(torch.maximum(torch.cat(nearest_in_other).max(), nearest_in_one.max()))
