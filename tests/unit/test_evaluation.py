"""How classifiers are measured, and a run's folder with its teachers."""

import dataclasses
from pathlib import Path

import pytest
import torch

from fusion.data.labelled import LabelledImages
from fusion.evaluation import agreement, cost, ensemble_logits, logits_of, score
from fusion.label_spaces import label_space
from fusion.networks import build_classifier
from fusion.teachers import save_teacher
from orchestrator.evaluating import evaluate
from orchestrator.loading import dump_config, load_config
from orchestrator.results import References, gap_closed
from tests.tiny import CPU, SPEC, teacher

SAME = label_space(["abc", "abc"])


def test_scores_worked_by_hand() -> None:
    predictions = torch.tensor([0, 0, 1, 2, 3, 3])
    truth = torch.tensor([0, 1, 1, 2, 2, 3])
    test = LabelledImages(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), truth, ("a", "b", "c", "d", "e"))
    found = score(torch.nn.functional.one_hot(predictions, 5).float(), test, [(0, 1, 2), (3, 4), (4,), ()])
    assert found.accuracy == pytest.approx(100 * 4 / 6)
    assert found.per_class == [100.0, 50.0, 50.0, 100.0, None]
    assert found.per_subset == [60.0, 100.0, None, None]


def test_the_ensemble_averages_probabilities() -> None:
    logits = [torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])]
    expected = 0.5 * logits[0].softmax(1) + 0.5 * logits[1].softmax(1)
    torch.testing.assert_close(ensemble_logits(logits, [0.5, 0.5], SAME).exp(), expected)
    assert ensemble_logits(logits, [0.01, 0.99], SAME).argmax() == 1


def test_agreement_needs_no_labels() -> None:
    first, second = torch.eye(4), torch.eye(4)[[0, 1, 3, 2]]
    assert agreement(first, second) == 50.0


def test_logits_of_keeps_the_mode_and_uses_running_statistics() -> None:
    classifier = teacher().build().train()
    images = torch.randint(0, 256, (600, 1, 8, 8), dtype=torch.uint8)
    found = logits_of(classifier, images, CPU)
    assert classifier.training
    assert len(found) == 600
    torch.testing.assert_close(found[:1], logits_of(classifier, images[:1], CPU))


def test_cost_counts_a_linear_and_a_convolution() -> None:
    # conv1: 8 * 1 * 9 per pixel; three stages of two 3x3 convolutions and (twice) a 1x1 projection; the
    # linear layer.
    counted = cost(build_classifier("resnet8-w8", SPEC), 1, 8)
    first = 64 * (8 * 9 + 2 * 8 * 8 * 9)
    second = 16 * (8 * 16 * 9 + 16 * 16 * 9 + 8 * 16)
    third = 4 * (16 * 32 * 9 + 32 * 32 * 9 + 16 * 32)
    assert counted.macs == first + second + third + 32 * 4
    assert counted.parameters == sum(p.numel() for p in build_classifier("resnet8-w8", SPEC).parameters())


def test_the_share_of_the_gap() -> None:
    teachers = [{"accuracy": 90.0}, {"accuracy": 80.0}]
    references = References(
        teachers=teachers, ensemble={"accuracy": 95.0}, gold_standard=None, ensemble_on_test=None
    )
    assert gap_closed(references, {"accuracy": 93.0}) == 60.0
    assert gap_closed(references, {"accuracy": 85.0}) == -100.0
    assert gap_closed(references, {"accuracy": None}) is None
    level = References(
        teachers=teachers, ensemble={"accuracy": 90.0}, gold_standard=None, ensemble_on_test=None
    )
    assert gap_closed(level, {"accuracy": 93.0}) is None


def test_another_configuration_gives_its_data_and_not_its_teachers(tmp_path: Path) -> None:
    folder, spec = tmp_path / "run", dataclasses.replace(SPEC, classes=tuple("0123456789"))
    (folder / "teachers").mkdir(parents=True)
    save_teacher(teacher(3, spec=spec), folder / "student.safetensors")
    for index in range(3):
        save_teacher(teacher(index, spec=spec), folder / "teachers" / f"party-{index}.safetensors")
    own = load_config("demo", ["pretrain.parties=3", "schedule.batch_size=66", "weights=[1, 2, 3]"])
    (folder / "config.yaml").write_text(dump_config(own))
    expected = evaluate(str(folder))
    assert [one["name"] for one in expected["teachers"]] == ["party-0", "party-1", "party-2"]
    for other in ("demo", str(tmp_path / "five.yaml")):
        (tmp_path / "five.yaml").write_text("preset: demo\npretrain: {parties: 5}\n")
        assert evaluate(str(folder), other) == expected
