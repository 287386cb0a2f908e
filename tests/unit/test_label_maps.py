"""Which classes teachers, configuration and images have: matched by name, refused in one line."""

import dataclasses
from typing import Any

import pytest
import torch

from fusion.data.labelled import DataError, LabelledImages
from fusion.label_spaces import label_space
from fusion.teachers import Teacher
from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.identity import run_identity
from orchestrator.label_spaces import check_classes, class_lines, describe_classes, images_of, renamed
from orchestrator.loading import parse_config
from orchestrator.teachers import lessons, split
from tests.tiny import SPEC, teacher, tiny_run


def config(**changes: Any) -> RunConfig:
    return parse_config(tiny_run(teachers=["a.safetensors", "b.safetensors"], **changes), "test")


def teachers(*classes: str) -> list[Teacher]:
    return [
        teacher(index, spec=dataclasses.replace(SPEC, classes=tuple(own)), name="AB"[index])
        for index, own in enumerate(classes)
    ]


def images(labels: list[int], classes: str) -> LabelledImages:
    pixels = torch.arange(len(labels) * 64, dtype=torch.uint8).view(-1, 1, 8, 8)
    return LabelledImages(pixels, torch.tensor(labels), tuple(classes))


def test_a_map_gives_classes_other_names_and_leaves_the_rest() -> None:
    one = renamed(teachers("abcd")[0], {"a": "x", "b": "a"}, "here")
    assert one.spec.classes == ("x", "a", "c", "d")
    assert renamed(one, {}, "here").spec == one.spec


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({"z": "x"}, "here: A has no class 'z' (known: a, b, c, d)"),
        ({"a": "b"}, "here: two classes of A would be called 'b'"),
    ],
)
def test_a_map_that_fits_no_teacher_is_refused(label_map: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as error:
        renamed(teachers("abcd")[0], label_map, "here")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("known", "changes", "classes"),
    [
        (("abcd", "abcd"), {}, "abcd"),
        (("abcd", "dcba"), {}, "abcd"),
        (("abcd", "ba"), {"weights": [1, 0]}, "abcd"),
        (("abc", "cd"), {"weights": "confidence"}, "abcd"),
        (("abc", "cd"), {"classes": ["d", "c", "b", "a"]}, "dcba"),
        (("ab", "cd"), {"classes": ["a", "c", "b", "d"]}, "acbd"),
    ],
)
def test_sets_that_overlap_or_are_declared_are_taken(
    known: tuple[str, str], changes: dict[str, Any], classes: str
) -> None:
    assert check_classes(config(**changes), teachers(*known)).classes == tuple(classes)


@pytest.mark.parametrize(
    ("known", "changes", "message"),
    [
        (
            ("ab", "cd"),
            {},
            "teachers.0: no other teacher knows a class of A (a, b); name them alike "
            "(teachers.0.label_map), or list all under 'classes' if that is meant",
        ),
        (("ab", "bc"), {"classes": ["a", "b"]}, "classes: 'c' is missing, which a teacher knows"),
        (
            ("ab", "bc"),
            {"classes": ["a", "b", "c", "d"]},
            "classes: no teacher knows 'd'",
        ),
        (("ab", "bc"), {"classes": ["a", "b", "b"]}, "classes: 'b' stands twice"),
        (
            ("ab", "bc"),
            {"weights": [1, 0]},
            "weights: every teacher that knows the class 'c' has the weight 0",
        ),
    ],
)
def test_what_nobody_meant_is_refused_in_one_line(
    known: tuple[str, str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        check_classes(config(**changes), teachers(*known))
    assert str(error.value) == message


def test_a_name_that_no_card_may_hold_is_refused_before_anything_runs() -> None:
    one, other = teachers("ab", "bc")
    with pytest.raises(UserError, match=r"^the student's card could not be written: classes: must be names"):
        check_classes(config(), [renamed(one, {"a": "x\n# y"}, "here"), other])


def test_one_line_says_who_knows_what() -> None:
    known = teachers("ab", "cb")
    line = describe_classes(label_space(["ab", "cb"]), known)
    assert line == "the student learns 3 classes; of these know: A 2 (a, b); B 2 (b, c)"
    many = [f"c{index}" for index in range(40)]
    assert describe_classes(label_space([many]), known[:1]).endswith("c10, c11, ...)")


def test_images_are_matched_by_name_and_those_of_other_classes_left_out() -> None:
    test = images([0, 1, 2, 3, 1], "abcd")
    assert images_of(test, label_space(["abcd"])) is test
    found = images_of(test, label_space(["db", "ba"]))
    assert found.classes == ("d", "b", "a")
    assert found.labels.tolist() == [2, 1, 0, 1]
    assert torch.equal(found.images, test.images[[0, 1, 3, 4]])
    with pytest.raises(UserError, match=r"^data: it has no class 'w', which the teachers know \(its 4: a, b"):
        images_of(test, label_space(["wxy", "yz"]))
    with pytest.raises(UserError, match=r"^data: there is no image$"):
        images_of(images([0, 0], "abcd"), label_space(["cd"]))
    with pytest.raises(DataError, match="there is no class 'e'"):
        test.only("ae")


def test_images_of_other_names_are_matched_by_order_where_there_is_one_order_and_that_is_said() -> None:
    test = images([0, 1, 2, 3, 1], "abcd")
    space = label_space(["wxyz", "wxyz"])
    assert images_of(test, space) is test
    assert class_lines(space, teachers("wxyz", "wxyz"), test) == [
        "data: its classes have other names, so they are matched by order: a is w, b is x, c is y, d is z"
    ]
    assert class_lines(space, teachers("wxyz", "wxyz"), None) == []
    named = label_space(["abcd", "abcd"])
    assert class_lines(named, teachers("abcd", "abcd"), images_of(test, named)) == []
    assert images_of(test, label_space(["wbyz"])) is test  # One of the names that fit stands where it should.
    for known, classes in (
        (["wxyz", "zyxw"], None),
        (["wxyz", "wxyz"], "zyxw"),
        (["wxyz"], "xwyz"),
        (["wayz"], None),
    ):
        with pytest.raises(UserError, match=r"^data: it has no class '\w', which the teachers know"):
            images_of(test, label_space(known, classes))


def pretraining(**changes: Any) -> RunConfig:
    return parse_config(tiny_run(pretrain={"networks": ["resnet8-w8"], **changes}), "test")


def test_parties_are_trained_on_their_classes_alone_and_the_gold_standard_on_all() -> None:
    train = images([index % 5 for index in range(200)], "abcde")
    chosen = pretraining(classes=[["d", 1], [1, 2, "a"]], canaries=6)
    assert chosen.pretrain is not None
    first, second, gold = lessons(chosen, train)
    assert [one.spec.classes for one in (first, second, gold)] == [tuple("db"), tuple("bca"), tuple("dbca")]
    for lesson in (first, second, gold):
        assert lesson.train.classes == lesson.spec.classes
    # All images of d, half of those of b; canaries have wrong labels that the party knows.
    for lesson, part in zip((first, second), split(chosen.pretrain, train, chosen.seed), strict=True):
        truth = [train.classes[label] for label in train.labels[part].tolist()]
        said = [lesson.spec.classes[label] for label in lesson.train.labels.tolist()]
        wrong = [int(part[place]) for place in range(len(part)) if truth[place] != said[place]]
        assert wrong == [one.index for one in lesson.canaries]
        assert len(wrong) == 6
        assert set(truth) == set(lesson.spec.classes)
        assert torch.equal(lesson.train.images, train.images[part])
    assert len(first.train) + len(second.train) == len(gold.train) == 160
    assert check_classes(chosen, [first.card, second.card]).classes == tuple("dbca")


def test_a_party_can_have_few_images() -> None:
    train = images([index % 5 for index in range(200)], "abcde")
    first, second, gold = lessons(pretraining(shares=[1.0, 0.1]), train)
    assert (len(first.train), len(second.train), len(gold.train)) == (100, 10, 200)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([["a", "x"], [0, 1]], "pretrain.classes.0: the data has no class 'x' (0 to 4: a, b, c, d, e)"),
        ([[0, 1], [1, 5]], "pretrain.classes.1: the data has no class 5 (0 to 4: a, b, c, d, e)"),
        ([[0, 1], [1, "b"]], "pretrain.classes.1: a class stands twice, by its name and by its number"),
    ],
)
def test_classes_that_the_data_has_not_are_refused(classes: list[Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        lessons(pretraining(classes=classes), images([0, 1, 2, 3, 4], "abcde"))
    assert str(error.value) == message


def test_a_checkpoint_of_other_classes_or_maps_is_not_gone_on_from() -> None:
    entries = [{"name": "A", "sha256": "0"}]
    plain = run_identity(config(), entries)
    mapped = config().model_copy(
        update={
            "teachers": parse_config(
                tiny_run(teachers=[{"path": "a", "label_map": {"a": "b"}}]), "test"
            ).teachers
        }
    )
    assert run_identity(mapped, entries) != plain
    assert run_identity(config(classes=["a", "b"]), entries) != plain
    assert run_identity(config(weights="confidence"), entries) != plain
