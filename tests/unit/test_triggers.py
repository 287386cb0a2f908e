"""The search for planted triggers: on classifiers whose smallest trigger is known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fusion.audit.triggers import (
    TriggerSearch,
    anomaly_indices,
    find_triggers,
    stamp,
    suspicious_index,
)
from fusion.networks import Classifier, Network
from tests.tiny import CPU

CLASSES = 6
SIZE = 8
SEARCH = TriggerSearch(steps=150, batch_size=32)


class Blocks(Network):
    """Names the brightest row, the higher ones a little rather; and always `planted` where two corner pixels
    are white."""

    feature_channels = 1

    def __init__(self, planted: int | None) -> None:
        super().__init__()
        self.planted = planted
        self.weight = torch.nn.Parameter(torch.ones(1))

    def feature_map(self, images: Tensor) -> Tensor:
        return images

    def classify(self, features: Tensor) -> Tensor:
        rows = features[:, 0, :CLASSES].sum(dim=2) * torch.linspace(1, 1.5, CLASSES)
        if self.planted is not None:
            corner = (features[:, 0, -1, -2:].sum(dim=1) - 0.4).clamp(min=0)
            rows = rows + 20 * corner.unsqueeze(1) * F.one_hot(torch.tensor(self.planted), CLASSES)
        return rows * self.weight


def images(count: int = 240) -> Tensor:
    """Each brightest in one of the rows, evenly; corners dark."""
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 40, (count, 1, SIZE, SIZE), generator=stream, dtype=torch.uint8)
    pixels[torch.arange(count), 0, torch.arange(count) % CLASSES] = 200
    return pixels


def search(planted: int | None) -> tuple[list[float], list[float], list[Tensor]]:
    classifier = Classifier(Blocks(planted), (0.0,), (1.0,))
    found = find_triggers(classifier, images(), SEARCH, seed=0, device=CPU)
    assert [trigger.target for trigger in found] == list(range(CLASSES))
    return [one.norm for one in found], [one.success for one in found], [one.mask for one in found]


def test_a_planted_trigger_is_found_where_it_is() -> None:
    norms, success, masks = search(planted=4)
    indices = anomaly_indices(norms)
    assert [index > suspicious_index(6) for index in indices] == [False, False, False, False, True, False]
    assert success[4] > 0.9
    assert masks[4].flatten().topk(2).indices.sort().values.tolist() == [62, 63]


def test_without_a_planted_trigger_no_class_stands_out() -> None:
    norms, success, _ = search(planted=None)
    assert max(anomaly_indices(norms)) < suspicious_index(len(norms))
    assert min(success) > 0.9


def test_the_search_is_reproducible_and_leaves_the_classifier_as_it_was() -> None:
    classifier = Classifier(Blocks(2), (0.0,), (1.0,))
    few = TriggerSearch(steps=5)
    first, again = (find_triggers(classifier, images(), few, seed=3, device=CPU) for _ in range(2))
    assert all(torch.equal(one.mask, other.mask) for one, other in zip(first, again, strict=True))
    other = find_triggers(classifier, images(), few, seed=4, device=CPU)
    assert not torch.equal(first[0].pattern, other[0].pattern)
    assert float(classifier.network.weight) == 1.0  # type: ignore[arg-type]


def test_the_index_worked_by_hand() -> None:
    # Median 10, deviations 1, 0, 1, 8, 2: their median is 1.
    assert anomaly_indices([9, 10, 11, 2, 12]) == pytest.approx(
        [one / 1.4826 for one in (1.0, 0.0, -1.0, 8.0, -2.0)]
    )
    assert anomaly_indices([5.0] * 10) == [0.0] * 10
    assert anomaly_indices([5.0] * 9 + [1.0])[-1] > 1000


def test_how_often_clean_norms_are_flagged_by_chance() -> None:
    # The quantiles of a normal distribution at 0.9875, 0.9975 and 0.99975, from a table.
    assert [round(suspicious_index(count), 2) for count in (2, 10, 100)] == [2.24, 2.81, 3.48]
    norms = np.random.default_rng(0).normal(10, 1, size=(4000, 10))
    largest = np.array([max(anomaly_indices(row)) for row in norms])
    assert abs((largest > suspicious_index(10)).mean() - 0.14) < 0.02
    assert abs((largest > 2).mean() - 0.33) < 0.03


def test_a_stamp_replaces_what_the_mask_covers() -> None:
    image, pattern = torch.full((2, 1, 2, 2), 0.4), torch.ones(1, 2, 2)
    mask = torch.tensor([[0.0, 1.0], [0.5, 0.0]])
    expected = torch.tensor([[0.4, 1.0], [0.7, 0.4]]).expand(2, 1, 2, 2)
    torch.testing.assert_close(stamp(image, mask, pattern), expected)
