"""What screening finds in teachers that were spoilt on purpose, and that it finds nothing in honest ones."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from fusion.data.sources import DataSettings, load
from fusion.disagreement import disagreement
from fusion.networks import ImageSpec
from fusion.pretraining import Recipe, train_classifier
from fusion.screening import screen
from fusion.teachers import Teacher, save_teacher
from orchestrator.cli import app
from tests.tiny import CPU

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def honest() -> list[Teacher]:
    """Three that were trained on different parts of the digits, from different weights."""
    train, _ = load(DataSettings(source="digits"))
    mean, std = train.normalisation()
    spec = ImageSpec(size=8, channels=1, classes=train.classes, mean=mean, std=std)
    recipe = Recipe(epochs=6, milestones=(5,), batch_size=64, crop_padding=0, flip=0)
    teachers = []
    for index in range(3):
        images, labels = train.images[index::3], train.labels[index::3]
        name = f"party-{index}"
        trained = train_classifier("resnet8-w8", spec, images, labels, recipe, seed=0, name=name, device=CPU)
        weights = trained.network.state_dict()
        teachers.append(Teacher(name=name, network="resnet8-w8", spec=spec, weights=weights))
    return teachers


def spoilt(teacher: Teacher, spoil: Callable[[State], None]) -> Teacher:
    weights = {name: tensor.clone() for name, tensor in teacher.weights.items()}
    spoil(weights)
    return dataclasses.replace(teacher, weights=weights)


def last(weights: State) -> str:
    """The name of the last layer's weights."""
    return [name for name, tensor in weights.items() if tensor.ndim == 2][-1]


def found(teacher: Teacher) -> set[str]:
    return {one.check for one in screen(teacher)}


def test_nothing_looks_wrong_with_honest_teachers(honest: list[Teacher]) -> None:
    for one in honest:
        assert screen(one) == []
    assert disagreement(honest) == []
    assert disagreement(honest[:2]) == []


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.0,), (1.0,)), ((0.0,), (1 / 255,)), ((127.5,), (127.5,)), ((0.5,), (5.0,))],
    ids=["none", "0 to 255 as 0 to 1", "of 0 to 255", "too wide"],
)
def test_a_normalisation_that_its_statistics_contradict(
    mean: tuple[float], std: tuple[float], honest: list[Teacher]
) -> None:
    other = dataclasses.replace(honest[0].spec, mean=mean, std=std)
    assert "normalisation" in found(dataclasses.replace(honest[0], spec=other))


def test_dead_and_duplicated_classes(honest: list[Teacher]) -> None:
    def dead(weights: State) -> None:
        weights[last(weights)][3] *= 1e-3
        weights[last(weights).replace("weight", "bias")][3] *= 1e-3

    def twice(weights: State) -> None:
        for name in (last(weights), last(weights).replace("weight", "bias")):
            weights[name][7] = weights[name][2]

    assert [one.message for one in screen(spoilt(honest[0], dead))] == ["the row of '3' is almost 0"]
    assert [one.message for one in screen(spoilt(honest[0], twice))] == [
        "the rows of '2' and '7' are the same"
    ]


def test_constant_outputs_and_extreme_weights(honest: list[Teacher]) -> None:
    def constant(weights: State) -> None:
        weights[last(weights)] *= 1e-6
        weights[last(weights).replace("weight", "bias")][:] = torch.arange(10.0)

    def extreme(weights: State) -> None:
        weights[last(weights)][0, 0] = 1e4

    assert "constant outputs" in found(spoilt(honest[0], constant))
    assert "extreme weight" in found(spoilt(honest[0], extreme))


def test_one_that_says_other_things_than_all_others(honest: list[Teacher]) -> None:
    def swapped(weights: State) -> None:
        for name in (last(weights), last(weights).replace("weight", "bias")):
            weights[name] = weights[name].roll(1, dims=0)

    together = [honest[0], spoilt(honest[1], swapped), honest[2]]
    assert [one.teacher for one in disagreement(together)] == ["party-1"]
    # Nobody can say anything of one that knows other classes, and it hides nothing.
    other = dataclasses.replace(honest[0].spec, classes=("0", *"abcdefghi"))
    stranger = dataclasses.replace(honest[0], name="stranger", spec=other)
    assert [one.teacher for one in disagreement([*together, stranger])] == ["party-1"]
    assert screen(together[1]) == []  # By itself nothing is wrong with it.


def test_the_command_says_so_and_exits_with_1(honest: list[Teacher], tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{one.name}.safetensors") for one in honest[:2]]

    def extreme(weights: State) -> None:
        weights[last(weights)][0, 0] = 1e4

    save_teacher(honest[0], Path(paths[0]))
    save_teacher(spoilt(honest[1], extreme), Path(paths[1]))
    done = CliRunner().invoke(app, ["teachers", "check", paths[0]])
    assert (done.exit_code, done.output.splitlines()[0]) == (0, "party-0: nothing looks wrong")
    numbers = tmp_path / "found.json"
    done = CliRunner().invoke(app, ["teachers", "check", *paths, "name=b", "--json", str(numbers)])
    assert done.exit_code == 1
    assert "b: extreme weight: " in done.output
    assert "party-0: nothing looks wrong" in done.output
    assert {one["teacher"] for one in json.loads(numbers.read_text())["found"]} == {"b"}
    for arguments, words in (
        (["name=b", paths[0]], "name=b: comes before the source"),
        ([paths[0], paths[0]], "'party-0' is taken"),
        ([str(tmp_path / "gone.pt")], "No such file or directory"),
    ):
        done = CliRunner().invoke(app, ["teachers", "check", *arguments])
        assert done.exit_code == 2
        assert words in done.output
