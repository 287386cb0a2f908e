import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fusion.data.labelled import LabelledImages
from fusion.teachers import TeacherError, card_path, load_teacher, save_teacher
from orchestrator.errors import UserError
from orchestrator.loading import parse_config
from orchestrator.teachers import lessons
from tests.tiny import SPEC, teacher, tiny_run


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "one.safetensors"
    save_teacher(teacher(name="one"), path, note="kept")
    return path


def change_card(path: Path, **changes: object) -> None:
    card = json.loads(card_path(path).read_text())
    card_path(path).write_text(
        json.dumps({key: value for key, value in (card | changes).items() if value != "absent"})
    )


def rewrite(path: Path, weights: dict[str, torch.Tensor]) -> None:
    import hashlib

    save_file(weights, path)
    change_card(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_classifier_comes_back_as_it_was(saved: Path) -> None:
    loaded, original = load_teacher(saved), teacher(name="one")
    assert (loaded.name, loaded.network, loaded.spec) == (original.name, original.network, original.spec)
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(loaded.build()(images).logits, original.build()(images).logits)
    assert json.loads(card_path(saved).read_text())["note"] == "kept"
    assert load_teacher(saved, "other").name == "other"


def test_no_half_written_file_stays(saved: Path) -> None:
    assert sorted(path.name for path in saved.parent.iterdir()) == ["one.json", "one.safetensors"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": "resnet19"}, r"network: must be a known network: .* \(got 'resnet19'\)"),
        ({"classes": "ab"}, "classes: must be a list of 2 to"),
        ({"classes": ["a"]}, "classes: must be a list of 2 to"),
        ({"mean": [0.1, 0.2]}, "mean: must be 1 numbers"),
        ({"std": [0.0]}, "std: must be a list of numbers from 1e-6"),
        ({"mean": "absent"}, "mean: must be a list"),
        ({"schema": 99}, "schema: must be 1"),
        ({"image_size": 4}, "image_size: must be 8 to 1024"),
        (
            {"classes": ["a", "b", "c", "d", "e"]},
            r"with 5 classes: fc.weight is F32 \[4, 32\], not F32 \[5, 32\]",
        ),
        ({"network": "resnet14"}, "not the weights of resnet14 with 4 classes: missing"),
        ({"sha256": "0" * 64}, "truncated or changed"),
    ],
)
def test_a_card_that_is_wrong_is_refused_by_key(saved: Path, change: dict[str, object], words: str) -> None:
    change_card(saved, **change)
    with pytest.raises(TeacherError, match=words) as error:
        load_teacher(saved)
    assert str(saved.parent) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_truncated_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(TeacherError, match="truncated or changed"):
        load_teacher(saved)


def test_what_is_no_safetensors_file_is_refused(saved: Path) -> None:
    import hashlib

    saved.write_bytes(b"\x80\x04nonsense" * 10)
    change_card(saved, sha256=hashlib.sha256(saved.read_bytes()).hexdigest())
    with pytest.raises(TeacherError, match="no safetensors file"):
        load_teacher(saved)


def test_missing_files_are_named(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(TeacherError, match=r"gone\.json: No such file"):
        load_teacher(tmp_path / "gone.safetensors")
    saved.unlink()
    with pytest.raises(TeacherError, match=r"one\.safetensors: No such file"):
        load_teacher(saved)


def test_a_class_that_no_card_could_name_is_refused_before_anything_is_pretrained() -> None:
    images = LabelledImages(
        torch.arange(128, dtype=torch.uint8).view(2, 1, 8, 8), torch.arange(2), ("a", "b\n# c")
    )
    with pytest.raises(UserError, match=r"^data: .*\(got \"?'b\\n# c'"):
        lessons(parse_config(tiny_run(), "here"), images)


def test_a_path_of_another_kind_is_refused() -> None:
    with pytest.raises(TeacherError, match=r"^\.: no \.safetensors file$"):
        load_teacher(Path())


def test_a_card_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="two words"):
        save_teacher(teacher(name="two words"), tmp_path / "one.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_the_largest_classes_that_are_read_are_also_written(tmp_path: Path) -> None:
    """Ten bytes each; a quote and a backslash are two characters in JSON."""
    spec = dataclasses.replace(SPEC, classes=tuple(f'"\\{index:08}' for index in range(100_000)))
    save_teacher(teacher(spec=spec), tmp_path / "one.safetensors")
    assert load_teacher(tmp_path / "one.safetensors").spec == spec


def test_weights_that_are_not_finite_are_refused(saved: Path) -> None:
    weights = dict(teacher().weights)
    weights["conv1.weight"] = torch.full_like(weights["conv1.weight"], float("nan"))
    rewrite(saved, weights)
    with pytest.raises(TeacherError, match=r"conv1\.weight holds values that are not finite"):
        load_teacher(saved)


def test_an_unexpected_tensor_is_refused(saved: Path) -> None:
    rewrite(saved, {**teacher().weights, "../../evil": torch.zeros(1)})
    with pytest.raises(TeacherError, match="unexpected"):
        load_teacher(saved)


def test_a_card_of_a_gigabyte_is_not_read(saved: Path) -> None:
    with card_path(saved).open("r+b") as file:
        file.truncate(2**30)
    with pytest.raises(TeacherError, match="larger than"):
        load_teacher(saved)


def test_normalisation_is_part_of_the_card_not_of_the_weights(tmp_path: Path) -> None:
    one = teacher(spec=dataclasses.replace(SPEC, mean=(0.1,), std=(0.9,)))
    save_teacher(one, tmp_path / "t.safetensors")
    assert load_teacher(tmp_path / "t.safetensors").build().mean.item() == pytest.approx(0.1)
