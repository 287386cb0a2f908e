"""Criteria held against NumPy and SciPy, and where their values are known without a calculation."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import rel_entr, softmax
from scipy.stats import entropy
from torch import Tensor

from fusion.criteria import CRITERIA, measure_criteria
from fusion.losses import mixture_log_probabilities

WEIGHTS = [0.5, 0.3, 0.2]


def logits(seed: int, images: int = 60, classes: int = 5) -> Tensor:
    return 3 * torch.randn(images, classes, generator=torch.Generator().manual_seed(seed))


def measured(student: Tensor, teachers: list[Tensor], weights: list[float]) -> dict[str, float | None]:
    """For teachers that know the same classes."""
    ensemble = mixture_log_probabilities(teachers, weights, tau=1.0)
    return measure_criteria(student, teachers, weights, ensemble)


def probabilities(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(softmax(tensor.double().numpy(), axis=1))


def sure(labels: list[int], classes: int = 4) -> Tensor:
    """Logits that leave no doubt."""
    return 1000 * torch.nn.functional.one_hot(torch.tensor(labels), classes).float()


def test_all_agree_with_numpy_and_scipy() -> None:
    student, teachers = logits(0), [logits(1), logits(2), logits(3)]
    p, own = probabilities(student), [probabilities(one) for one in teachers]
    mixture = np.tensordot(WEIGHTS, np.stack(own), 1)
    hits = p.argmax(1) == mixture.argmax(1)
    classes = [100 * hits[mixture.argmax(1) == label].mean() for label in np.unique(mixture.argmax(1))]
    disputed = [len({one[image].argmax() for one in own}) > 1 for image in range(len(p))]
    # The generalised Jensen-Shannon divergence in its other form, a mean of divergences from the mixture.
    disagreement = sum(w * rel_entr(one, mixture).sum(1).mean() for w, one in zip(WEIGHTS, own, strict=True))
    expected = {
        "agreement": 100 * hits.mean(),
        "balanced_agreement": np.mean(classes),
        "disputed_agreement": 100 * hits[disputed].mean(),
        "divergence": rel_entr(mixture, p).sum(1).mean(),
        "student_entropy": entropy(p, axis=1).mean(),
        "class_coverage": entropy(p.mean(0), base=5),
        "image_coverage": entropy(mixture.mean(0), base=5),
        "teacher_disagreement": disagreement,
    }
    assert not all(disputed)
    assert any(disputed)
    assert measured(student, teachers, WEIGHTS) == pytest.approx(expected, rel=1e-5)
    assert list(expected) == list(CRITERIA)


def test_a_student_that_is_its_only_teacher_is_perfect() -> None:
    found = measured(logits(4), [logits(4)], [1.0])
    assert (found["agreement"], found["balanced_agreement"]) == (100.0, 100.0)
    assert found["divergence"] == pytest.approx(0, abs=1e-6)
    assert found["teacher_disagreement"] == pytest.approx(0, abs=1e-6)
    assert found["disputed_agreement"] is None


def test_a_student_that_always_says_the_same_covers_nothing() -> None:
    found = measured(sure([0] * 8), [sure([0, 0, 0, 0, 0, 1, 2, 3])], [1.0])
    assert found["agreement"] == 62.5
    assert found["balanced_agreement"] == 25.0
    assert found["student_entropy"] == found["class_coverage"] == 0.0
    assert measured(sure([0, 1, 2, 3]), [sure([0, 1, 2, 3])], [1.0])["class_coverage"] == 1.0
    assert measured(torch.zeros(8, 4), [logits(0, 8, 4)], [1.0])["student_entropy"] == pytest.approx(
        math.log(4)
    )


def test_the_copy_of_one_teacher_loses_where_they_differ() -> None:
    first, second = sure([0, 1, 2, 3]), sure([0, 1, 3, 2])
    found = measured(first, [first, second], [0.4, 0.6])
    assert (found["agreement"], found["disputed_agreement"]) == (50.0, 0.0)
    # On half of the images they are as far apart as two weighted classifiers can be.
    furthest = -(0.4 * math.log(0.4) + 0.6 * math.log(0.6))
    assert found["teacher_disagreement"] == pytest.approx(furthest / 2)


def test_a_teacher_without_weight_is_not_asked() -> None:
    student, teachers = logits(0), [logits(1), logits(2)]
    assert measured(student, [*teachers, logits(3)], [0.5, 0.5, 0.0]) == measured(
        student, teachers, [0.5, 0.5]
    )


def test_what_has_no_value_is_none() -> None:
    broken = logits(0)
    broken[3] = math.nan
    found = measured(broken, [logits(1), logits(2)], [0.5, 0.5])
    assert found["divergence"] is found["student_entropy"] is found["class_coverage"] is None
    assert found["teacher_disagreement"] is not None


def test_a_teacher_that_does_not_know_a_class_never_names_it() -> None:
    """Two teachers of three classes each, which share one; where both are sure, the union is covered."""
    first, second = sure([0, 1, 2, 2], 4), sure([2, 3, 2, 2], 4)
    first[:, 3] = second[:, :2] = -math.inf
    ensemble = torch.log_softmax(sure([0, 3, 2, 2]), dim=1)
    found = measure_criteria(sure([0, 3, 2, 2]), [first, second], [0.5, 0.5], ensemble)
    assert (found["agreement"], found["disputed_agreement"]) == (100.0, 100.0)
    assert found["teacher_disagreement"] == pytest.approx(math.log(2) / 2)
