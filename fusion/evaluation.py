"""How good a classifier is: against labels, against the teachers' ensemble, and what it costs."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fusion.data.labelled import LabelledImages
from fusion.data.partitions import frequent_party
from fusion.label_spaces import LabelSpace, mean_of_those_who_know, widened
from fusion.losses import confidence_weights, mixture_log_probabilities
from fusion.networks import Classifier

EVALUATION_BATCH = 500


@torch.no_grad()
def logits_of(classifier: Classifier, images: Tensor, device: torch.device) -> Tensor:
    """Logits [count, classes] on the CPU for uint8 images; the classifier keeps its mode."""
    training = classifier.training
    classifier.eval()
    batches = [
        classifier(batch.to(device).float() / 255).logits.float().cpu()
        for batch in images.split(EVALUATION_BATCH)
    ]
    classifier.train(training)
    return torch.cat(batches)


def ensemble_logits(
    logits: Sequence[Tensor], weights: Sequence[float], space: LabelSpace, *, confident: bool = False
) -> Tensor:
    """The teachers' ensemble: the logarithm of their weighted mean probabilities (temperature 1) over all
    classes, each class by those who know it. `confident`: with weights of each sample, as the student's."""
    asked = {index: one for index, one in enumerate(logits) if weights[index] > 0}
    own = [weights[index] for index in asked]
    mixing = confidence_weights(list(asked.values()), own) if confident else own
    if space.common:
        return mixture_log_probabilities(
            [widened(asked[one], space, one, 0.0) for one in asked], mixing, tau=1.0
        )
    return mean_of_those_who_know(asked, mixing, own, space)


def percent(hits: Tensor) -> float:
    """Share of true entries, in percent."""
    return 100.0 * float(hits.double().mean())


@dataclasses.dataclass(frozen=True)
class Scores:
    """Accuracies in percent on a labelled test set."""

    accuracy: float
    per_class: list[float | None]
    """In the order of the classes; None for a class without a test image."""
    per_subset: list[float | None]
    """On the classes of each party: those it knows, or where all know all those that an imbalanced split
    makes frequent there (supplement, Figs. 2 and 3); None where there is no test image of them."""


def score(logits: Tensor, test: LabelledImages, subsets: Sequence[Sequence[int]]) -> Scores:
    """Top-1 accuracy: over all, per class, and per set of classes in `subsets`."""
    hits = logits.argmax(dim=1) == test.labels

    def among(labels: Sequence[int]) -> float | None:
        mask = torch.isin(test.labels, torch.tensor(list(labels), dtype=torch.int64))
        return percent(hits[mask]) if bool(mask.any()) else None

    return Scores(
        accuracy=percent(hits),
        per_class=[among([label]) for label in range(len(test.classes))],
        per_subset=[among(subset) for subset in subsets],
    )


def class_subsets(space: LabelSpace) -> list[list[int]]:
    """By party the classes that it stands for: those it knows, or where all know all its block of them."""
    if not space.common:
        return [list(own) for own in space.columns]
    owners = frequent_party(len(space.classes), len(space.columns))
    return [np.flatnonzero(owners == party).tolist() for party in range(len(space.columns))]


def agreement(logits: Tensor, reference: Tensor) -> float:
    """Percent of images on which two classifiers name the same class; needs no labels."""
    return percent(logits.argmax(dim=1) == reference.argmax(dim=1))


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error, 0 to 1: by how much confidence and accuracy differ, on average over images.

    Images are sorted into `bins` intervals of equal width by their confidence (Guo et al., ICML 2017, Eq. 3).
    """
    confidence, predicted = logits.double().softmax(dim=1).max(dim=1)
    interval = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = confidence - (predicted == labels).double()
    return float(torch.zeros(bins, dtype=torch.double).index_add(0, interval, gap).abs().sum()) / len(labels)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one image costs a classifier."""

    parameters: int
    macs: int
    """Multiply-accumulates of one forward pass."""


def cost(classifier: Classifier, channels: int, size: int) -> Cost:
    """Counted, not measured: on the meta device, with PyTorch's own counter."""
    network = classifier.network
    return Cost(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs=forward_flops(network, (1, channels, size, size)) // 2,
    )


def forward_flops(module: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """Floating-point operations of a forward pass on an input of `shape`."""
    twin: Any = copy.deepcopy(module).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        twin(torch.empty(shape, device="meta"))
    return int(counter.get_total_flops())
