"""Attacks held against scikit-learn and worked by hand; canaries are reproducible."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from fusion.audit import membership
from fusion.audit.canaries import Canary, draw_canaries, mislabelled
from fusion.data.labelled import LabelledImages
from orchestrator.errors import UserError
from orchestrator.loading import parse_config
from orchestrator.teachers import canaries_record, lessons, split
from tests.tiny import tiny_run


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("ties", [False, True])
def test_the_auc_is_scikit_learns(ties: bool) -> None:
    members, others = random().normal(0.4, 1, 70), random(1).normal(0, 1, 110)
    if ties:
        members, others = members.round(), others.round()
    truth = np.repeat([1, 0], [70, 110])
    expected = roc_auc_score(truth, np.concatenate([members, others]))
    assert membership.auc(members, others) == pytest.approx(expected, abs=1e-12)


def test_the_interval_holds_the_true_auc_about_as_often_as_it_says() -> None:
    # For two normal distributions a deviation apart the AUC is Phi(1 / sqrt(2)) = 0.7602.
    hits = 0
    for seed in range(40):
        low, high = membership.auc_interval(
            random(seed).normal(1, 1, 60), random(seed + 100).normal(0, 1, 60), random(seed)
        )
        assert low < high
        hits += low <= 0.7602 <= high
    assert 34 <= hits <= 40


def test_rates_worked_by_hand() -> None:
    others = np.arange(200.0)  # One in a hundred may be above: 198 and 199.
    members = np.array([197.0, 197.5, 198.5, 300.0])
    assert membership.tpr_at(members, others, 0.01) == 0.75
    assert membership.tpr_at(members, others, 0.001) is None
    assert membership.tpr_at(members, np.zeros(1000), 0.001) == 1.0
    assert membership.tpr_at(np.zeros(4), np.zeros(1000), 0.001) == 0.0


def test_matched_groups_have_the_same_classes() -> None:
    members = np.repeat([0, 1, 2], [30, 10, 5])
    others = np.repeat([0, 1, 2, 3], [60, 60, 60, 9])
    inside, outside = membership.matched(members, others, random())
    assert np.bincount(members[inside]).tolist() == [30, 10, 5]
    assert np.bincount(others[outside], minlength=4).tolist() == [60, 20, 10, 0]
    # Too few partners: as many members as have one.
    inside, outside = membership.matched(members, np.repeat([0, 1], [20, 60]), random())
    assert np.bincount(members[inside]).tolist() == [20, 10]
    assert len(outside) == 30
    assert len(set(outside.tolist())) == 30


def test_nearness_is_the_distance_to_the_nearest() -> None:
    synthetic = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    synthetic[1] = 255
    images = torch.tensor([[[[255, 255], [255, 0]]], [[[51, 0], [0, 0]]]], dtype=torch.uint8)
    assert membership.nearness_scores(images, synthetic).tolist() == pytest.approx([-1.0, -0.2])


def labelled(count: int = 60) -> LabelledImages:
    return LabelledImages(
        torch.arange(count * 64, dtype=torch.uint8).view(count, 1, 8, 8),
        torch.arange(count) % 4,
        tuple("abcd"),
    )


def test_canaries_are_of_their_part_wrong_in_every_way_and_the_seeds() -> None:
    labels, parts = np.arange(600) % 4, [np.arange(0, 300), np.arange(300, 600)]
    known = [range(4), range(4)]
    drawn = draw_canaries(labels, parts, 90, known, seed=5)
    assert drawn == draw_canaries(labels, parts, 90, known, seed=5)
    assert drawn != draw_canaries(labels, parts, 90, known, seed=6)
    for own, part in zip(drawn, parts, strict=True):
        assert len({one.index for one in own}) == 90
        assert {one.index for one in own} <= set(part.tolist())
        steps = np.bincount([(one.label - labels[one.index]) % 4 for one in own], minlength=4)
        assert steps[0] == 0
        assert steps[1:].min() > 15
    with pytest.raises(ValueError, match="301, but the smallest party has 300 images"):
        draw_canaries(labels, parts, 301, known, seed=5)


def test_only_canaries_are_mislabelled() -> None:
    images = labelled()
    changed = mislabelled(images, [Canary(3, 0), Canary(8, 2)])
    assert (changed.labels != images.labels).nonzero().flatten().tolist() == [3, 8]
    assert changed.labels[[3, 8]].tolist() == [0, 2]


def test_each_party_trains_on_its_own_canaries_and_the_gold_standard_on_none() -> None:
    train = labelled(200)
    pretrain = {"networks": ["resnet8-w8"], "canaries": 7}
    config = parse_config(tiny_run(pretrain=pretrain), "test")
    todo = lessons(config, train)
    assert config.pretrain is not None
    parts = split(config.pretrain, train, config.seed)
    for lesson, part in zip(todo, parts, strict=False):
        wrong = part[(lesson.train.labels != train.labels[part]).numpy()]
        assert wrong.tolist() == [one.index for one in lesson.canaries]
        assert len(wrong) == 7
    assert torch.equal(todo[-1].train.labels, train.labels)
    record = canaries_record(todo)
    assert list(record) == ["party-0", "party-1"]
    assert record["party-0"][0] == {"index": todo[0].canaries[0].index, "label": todo[0].canaries[0].label}
    assert record == canaries_record(lessons(config, train))
    assert canaries_record(lessons(parse_config(tiny_run(), "test"), train)) == {}
    crowd = parse_config(tiny_run(pretrain={**pretrain, "canaries": 150}), "test")
    with pytest.raises(UserError, match=r"^pretrain: canaries: 150, but the smallest party has 100 images$"):
        lessons(crowd, train)
