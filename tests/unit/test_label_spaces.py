"""Teachers of different classes: formulas against NumPy, and what must stay exactly as it was."""

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fusion import algorithm, losses
from fusion.assembly import build_party, build_student, student_spec
from fusion.compute import Compute
from fusion.evaluation import class_subsets, ensemble_logits
from fusion.label_spaces import LabelSpace, label_space, union_distillation
from fusion.labelling import label
from fusion.networks import ImageSpec
from fusion.student import Student
from fusion.teachers import Teacher
from tests.tiny import CPU, SPEC, settings, teacher

STREAM = torch.Generator().manual_seed(0)
TAU = 3.0
Array = NDArray[np.float64]


def logits(classes: int, count: int = 5) -> torch.Tensor:
    return 3 * torch.randn(count, classes, generator=STREAM)


def softmax(values: torch.Tensor, tau: float = 1.0) -> Array:
    scaled = np.exp(values.double().numpy() / tau)
    result: Array = scaled / scaled.sum(axis=1, keepdims=True)
    return result


def expected_loss(
    said: Sequence[torch.Tensor], student: torch.Tensor, weights: Array, space: LabelSpace
) -> float:
    """Sample by sample and group by group as docs/label-spaces.md writes it; `weights` [teachers, batch]."""
    own = softmax(student, TAU)
    total = 0.0
    for sample in range(len(student)):
        for classes in {frozenset(columns) for columns in space.columns}:
            members = [k for k, columns in enumerate(space.columns) if frozenset(columns) == classes]
            whole = sum(weights[k, sample] for k in members)
            given = {column: own[sample, column] / own[sample, list(classes)].sum() for column in classes}
            mixed = dict.fromkeys(classes, 0.0)
            for k in members:
                probabilities = softmax(said[k], TAU)[sample]
                for column, probability in zip(space.columns[k], probabilities, strict=True):
                    mixed[column] += weights[k, sample] / whole * probability
            total += whole * sum(p * np.log(p / given[column]) for column, p in mixed.items())
    return total / len(student)


def loss(
    said: Sequence[torch.Tensor],
    student: torch.Tensor,
    weights: Sequence[float | torch.Tensor],
    space: LabelSpace,
) -> torch.Tensor:
    return union_distillation(dict(enumerate(said)), student, weights, space, tau=TAU)


SPACES = {
    "overlapping": label_space(["abc", "cbd"]),
    "disjoint": label_space(["ab", "cde"]),
    "a subset": label_space(["abcd", "ca"]),
    "two of three alike": label_space(["abc", "cd", "bca"]),
    "one": label_space(["abc"]),
    "another order": label_space(["abc", "cab"]),
}


def test_the_union_has_the_order_of_first_appearance_or_the_given_one() -> None:
    assert label_space(["ba", "bc"]) == LabelSpace(("b", "a", "c"), ((0, 1), (0, 2)))
    assert label_space(["ba", "bc"], "abc") == LabelSpace(("a", "b", "c"), ((1, 0), (1, 2)))
    assert label_space(["ab", "ba"]).common
    assert not label_space(["ab", "b"]).common
    with pytest.raises(ValueError, match="'c' is missing, which a teacher knows"):
        label_space(["ba", "bc"], "ab")
    with pytest.raises(ValueError, match="no teacher knows 'd'"):
        label_space(["ba", "bc"], "abcd")
    with pytest.raises(ValueError, match="'a' stands twice"):
        label_space(["ba", "bc"], "abca")


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("confident", [False, True])
def test_the_loss_agrees_with_numpy(name: str, confident: bool) -> None:
    space = SPACES[name]
    said, student = [logits(len(own)) for own in space.columns], logits(len(space.classes))
    base = np.arange(1.0, len(said) + 1)
    base /= base.sum()
    weights = np.tile(base[:, None], (1, len(student)))
    given: Sequence[float | torch.Tensor] = base.tolist()
    if confident:
        entropy = np.array([-(p * np.log(p)).sum(axis=1) for p in map(softmax, said)])
        weights = base[:, None] * np.exp(-entropy)
        weights /= weights.sum(axis=0)
        given = losses.confidence_weights(said, base.tolist())
        np.testing.assert_allclose(torch.cat(list(given), dim=1).T.numpy(), weights, rtol=1e-5)
    found = loss(said, student, given, space)
    assert found.item() == pytest.approx(expected_loss(said, student, weights, space), rel=1e-4)


def test_for_the_same_classes_in_the_same_order_it_is_equation_1_to_the_bit() -> None:
    said, weights = [logits(7), logits(7), logits(7)], [0.2, 0.5, 0.3]
    student = logits(7)
    mine, theirs = student.clone().requires_grad_(), student.clone().requires_grad_()
    found = loss(said, mine, weights, label_space(["abcdefg"] * 3))
    expected = losses.distillation(said, theirs, weights, tau=TAU)
    assert torch.equal(found, expected)
    found.backward()
    expected.backward()
    assert mine.grad is not None and theirs.grad is not None
    assert torch.equal(mine.grad, theirs.grad)
    target = losses.mixture_log_probabilities(said, weights, tau=1.0)
    assert torch.equal(ensemble_logits(said, weights, label_space(["abcdefg"] * 3)), target)


def test_a_teacher_that_permutes_its_classes_says_the_same() -> None:
    said, student, weights = [logits(4), logits(4)], logits(4), [0.5, 0.5]
    plain, order = loss(said, student, weights, label_space(["abcd", "abcd"])), [2, 0, 3, 1]
    permuted = [said[0], said[1][:, order]]
    assert torch.equal(plain, loss(permuted, student, weights, label_space(["abcd", "cadb"])))
    ensembles = (
        ensemble_logits(said, weights, label_space(["abcd", "abcd"])),
        ensemble_logits(permuted, weights, label_space(["abcd", "cadb"])),
    )
    assert torch.equal(*ensembles)


def test_a_teacher_says_nothing_of_classes_that_it_does_not_know() -> None:
    space = SPACES["disjoint"]
    student = logits(5)
    shifted = student + torch.tensor([2.0, 2.0, -1.0, -1.0, -1.0])
    said = [logits(2), logits(3)]
    torch.testing.assert_close(loss(said, student, [0.5, 0.5], space), loss(said, shifted, [0.5, 0.5], space))
    copied = torch.cat(said, dim=1)
    assert loss(said, copied, [0.5, 0.5], space).abs() < 1e-6
    overlap = SPACES["overlapping"]
    alone = student[:, :4].clone().requires_grad_()
    union_distillation({1: logits(3)}, alone, [1.0], overlap, tau=TAU).backward()
    assert alone.grad is not None
    assert (alone.grad[:, 0] == 0).all() and (alone.grad[:, 1:] != 0).all()


def test_confidence_is_one_over_the_number_of_classes_between_which_a_teacher_is_undecided() -> None:
    certain, undecided = torch.tensor([[50.0, 0, 0, 0]]), torch.zeros(1, 4)
    sure, unsure = losses.confidence_weights([certain, undecided], [0.5, 0.5])
    assert (sure.item(), unsure.item()) == (pytest.approx(0.8), pytest.approx(0.2))
    assert torch.equal(losses.confidence_weights([logits(4)], [1.0])[0], torch.ones(5, 1))
    alike = logits(4)
    for weight, expected in zip(
        losses.confidence_weights([alike] * 3, [0.5, 0.3, 0.2]), (0.5, 0.3, 0.2), strict=True
    ):
        torch.testing.assert_close(weight, torch.full((5, 1), expected))


def test_the_ensemble_averages_over_those_who_know_a_class() -> None:
    space = SPACES["overlapping"]  # Of a, b, c and d; the second teacher names c, b, d.
    said = [logits(3), logits(3)]
    first, second = softmax(said[0]), softmax(said[1])
    weights = [0.25, 0.75]
    middle = 0.25 * first[:, 1] + 0.75 * second[:, 1]
    expected = np.stack([first[:, 0], middle, 0.25 * first[:, 2] + 0.75 * second[:, 0], second[:, 2]], axis=1)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ensemble_logits(said, weights, space).exp().numpy(), expected, rtol=1e-4)
    disjoint = ensemble_logits([torch.tensor([[9.0, 0]]), torch.zeros(1, 3)], [0.5, 0.5], SPACES["disjoint"])
    assert disjoint.argmax() == 0


def test_the_ensemble_of_confident_teachers_leans_to_the_sure_one() -> None:
    said = [torch.tensor([[4.0, 0, 0]]), torch.tensor([[0, 1.0, 0.9]])]
    for space in (label_space(["abc", "abc"]), label_space(["abc", "bcd"])):
        plain = ensemble_logits(said, [0.5, 0.5], space).exp()
        leaning = ensemble_logits(said, [0.5, 0.5], space, confident=True).exp()
        assert leaning[0, 0] > plain[0, 0]


def test_subsets_are_what_each_party_knows_or_its_block() -> None:
    assert class_subsets(label_space(["abcd", "badc"])) == [[0, 1], [2, 3]]
    assert class_subsets(label_space(["abc", "cd"])) == [[0, 1, 2], [2, 3]]


def spec(classes: str) -> ImageSpec:
    return dataclasses.replace(SPEC, classes=tuple(classes))


def permuted(one: Teacher, order: Sequence[int]) -> Teacher:
    """The same classifier with its last layer's rows and names in another order."""
    weights = {
        name: value[list(order)] if name.startswith("fc.") else value for name, value in one.weights.items()
    }
    classes = tuple(one.spec.classes[place] for place in order)
    return dataclasses.replace(one, weights=weights, spec=dataclasses.replace(one.spec, classes=classes))


def taught(teachers: Sequence[Teacher], **changes: object) -> Student:
    """A student after four union batches of noise."""
    student = build_student(teachers, settings(**changes), CPU)
    for iteration in range(4):
        student.begin_iteration(iteration)
        student.update(torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(iteration)))
    return student


@pytest.mark.parametrize("weights", ["uniform", "confidence", (1.0, 3.0)])
def test_the_student_of_permuted_teachers_is_the_same(weights: object) -> None:
    teachers, order = [teacher(0), teacher(1)], [2, 0, 3, 1]
    plain = taught(teachers, weights=weights)
    one_permuted = taught([teachers[0], permuted(teachers[1], order)], weights=weights)
    both = [permuted(one, order) for one in teachers]
    assert student_spec(both).classes == ("c", "a", "d", "b")
    all_permuted = taught(both, weights=weights, classes=SPEC.classes)
    metrics = plain.meter.take()
    for other in (one_permuted, all_permuted):
        for name, value in plain.learner.state_dict().items():
            torch.testing.assert_close(value, other.learner.state_dict()[name], rtol=1e-5, atol=1e-6)
        assert other.meter.take() == pytest.approx(metrics, rel=1e-4)


@pytest.mark.parametrize("weights", ["uniform", "confidence"])
@pytest.mark.parametrize("classes", [("abcd", "cdef"), ("ab", "cde"), ("abcd", "db")])
def test_parties_keep_their_own_classes_and_the_student_has_all(
    classes: tuple[str, str], weights: str
) -> None:
    teachers = [teacher(index, spec=spec(own)) for index, own in enumerate(classes)]
    chosen = settings(weights=weights)
    parties = [build_party(index, 2, one, chosen, CPU) for index, one in enumerate(teachers)]
    student = build_student(teachers, chosen, CPU)
    algorithm.warm_up(parties, chosen.schedule)
    algorithm.fuse(parties, student, chosen.schedule)
    images = torch.rand(2, 1, 8, 8)
    widths = [party.assistant.eval()(images).logits.shape[1] for party in parties]
    assert widths == [len(own) for own in classes]
    assert student.classifier.eval()(images).logits.shape[1] == len(set("".join(classes)))
    assert all(torch.isfinite(value).all() for value in student.learner.state_dict().values())
    metrics = student.meter.take()
    assert {"student/party-0/adv", "student/party-1/adv"} <= metrics.keys()
    assert all(metrics[f"student/party-{index}/adv"] <= 0 for index in (0, 1))
    if weights == "confidence":
        assert metrics["student/party-0/weight"] + metrics["student/party-1/weight"] == pytest.approx(1)


def test_the_log_has_how_student_and_teacher_differ_on_each_partys_own_images_and_classes() -> None:
    classes = ("abcd", "cdef", "abcd", "dcef")
    teachers = [teacher(index, spec=spec(own)) for index, own in enumerate(classes)]
    student = build_student(teachers, settings(), CPU)
    student.begin_iteration(0)
    images = torch.rand(12, 1, 8, 8)
    said = {index: label(student.teachers[index], images, Compute()) for index in (0, 2, 3)}  # Not 1.
    with torch.no_grad():
        before = copy.deepcopy(student.classifier)(images).logits  # In training, as the student itself.
    student.learn(images, said)
    metrics = student.meter.take()
    assert "student/party-1/adv" not in metrics
    for index, prediction in said.items():
        own = slice(3 * index, 3 * index + 3)
        columns = ["abcdef".index(name) for name in classes[index]]
        expected = losses.adversarial(prediction.logits[own], before[own][:, columns], tau=student.method.tau)
        assert metrics[f"student/party-{index}/adv"] == pytest.approx(float(expected), rel=1e-4)


def test_the_student_learns_the_conditionals_of_its_teachers() -> None:
    """Under an overlap they fix the whole distribution: here all four classes."""
    said = [logits(3, 64), logits(3, 64)]
    said[1][:, :2] = said[0][:, 1:]  # They agree on b against c.
    space = label_space(["abc", "bcd"])
    student = torch.zeros(64, 4, requires_grad=True)
    optimiser = torch.optim.Adam([student], lr=0.3)
    for _ in range(500):
        optimiser.zero_grad()
        (64 * loss(said, student, [0.5, 0.5], space)).backward()
        optimiser.step()
    expected = torch.cat([said[0], said[1][:, 2:]], dim=1).softmax(1)
    torch.testing.assert_close(student.detach().softmax(1), expected, rtol=0.02, atol=0.01)
