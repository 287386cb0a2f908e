"""Teachers from files as other libraries write them."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fusion.fitting import closest
from fusion.networks import build_network
from fusion.outside import read_outside
from fusion.teachers import TeacherError, load_teacher, save_teacher
from tests.outside import CLASSES, home_made, read, same_logits, torchvisions
from tests.tiny import SPEC, teacher

MODEL = torchvisions()
State = dict[str, Tensor]


def lightnings(model: nn.Module) -> dict[str, Any]:
    """The layout of `Trainer.save_checkpoint`, for a module with `self.model` and a loss that has weights.

    Source: `dump_checkpoint` in lightning/pytorch/trainer/connectors/checkpoint_connector.py (2.5).
    """
    optimiser = torch.optim.Adam(model.parameters())
    state = {f"model.{name}": one for name, one in model.state_dict().items()}
    return {
        "epoch": 3,
        "global_step": 120,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {**state, "criterion.weight": torch.ones(4)},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.1)}},
        "optimizer_states": [optimiser.state_dict()],
        "lr_schedulers": [{"last_epoch": 3, "_last_lr": [0.001]}],
    }


def nested(model: nn.Module) -> State:
    return torch.compile(nn.DataParallel(nn.ModuleDict({"backbone": model})["backbone"])).state_dict()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("file", "make", "form", "notes"),
    [
        ("a.pth", lambda model: model.state_dict(), "PyTorch file, state dict", []),
        ("a.pt", lambda model: {"model": model.state_dict(), "epoch": 1}, "state dict under 'model'", []),
        ("a.bin", lambda model: {"net": model.state_dict(), "acc": 0.9}, "state dict under 'net'", []),
        ("a.th", lambda model: {"model_state_dict": model.state_dict()}, "under 'model_state_dict'", []),
        ("a.pth", lambda model: nn.DataParallel(model).state_dict(), "state dict", ["prefix 'module.'"]),
        ("a.pth", lambda model: torch.compile(model).state_dict(), "state dict", ["prefix '_orig_mod.'"]),
        ("a.pth", nested, "state dict", ["prefix '_orig_mod.module.'"]),
        ("a.ckpt", lightnings, "under 'state_dict'", ["prefix 'model.'", "1 tensors that are not"]),
    ],
)
def test_every_usual_form_is_read(
    file: str, make: Callable[[nn.Module], object], form: str, notes: list[str], tmp_path: Path
) -> None:
    torch.save(make(MODEL), tmp_path / file)
    outside = read(tmp_path / file)
    assert form in outside.form
    assert len(outside.notes) == len(notes)
    assert all(words in note for words, note in zip(notes, outside.notes, strict=True))
    assert same_logits(outside, MODEL)
    assert outside.teacher.weights.keys() == MODEL.state_dict().keys()
    assert (outside.origins["channels"], outside.origins["classes"]) == ("inferred", "given")


def test_torchvisions_resnet18_is_read_as_its_users_save_it(tmp_path: Path) -> None:
    model = torchvisions("resnet18")
    torch.save(model.state_dict(), tmp_path / "resnet18-f37072fd.pth")
    outside = read(tmp_path / "resnet18-f37072fd.pth", network="torchvision:resnet18")
    assert (outside.teacher.name, same_logits(outside, model)) == ("resnet18-f37072fd", True)
    large = read(tmp_path / "resnet18-f37072fd.pth", network="resnet18", image_size=96)
    assert same_logits(large, model)  # Ours above 64 pixels.


def test_the_form_before_pytorch_1_6_and_bare_safetensors_are_read(tmp_path: Path) -> None:
    torch.save(MODEL.state_dict(), tmp_path / "old.th", _use_new_zipfile_serialization=False)
    assert same_logits(read(tmp_path / "old.th"), MODEL)
    save_file({f"module.{name}": one for name, one in MODEL.state_dict().items()}, tmp_path / "b.safetensors")
    outside = read(tmp_path / "b.safetensors")
    assert (outside.form, same_logits(outside, MODEL)) == ("safetensors file", True)


def timm_folder(folder: Path, **config: Any) -> nn.Module:
    """A folder as timm's `save_for_hf` writes it, with some of config.json changed.

    That function itself insists on huggingface_hub, which is there to download.
    """
    import timm
    from timm.models._hub import save_config_for_hf

    torch.random.manual_seed(0)
    model: nn.Module = timm.create_model("test_resnet", pretrained=False, num_classes=4, in_chans=1).eval()
    folder.mkdir()
    save_config_for_hf(model, str(folder / "config.json"), model_config={"label_names": CLASSES})
    save_file(model.state_dict(), folder / "model.safetensors")
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(written | config))
    return model


def test_a_folder_of_timm_needs_nothing_to_be_given(tmp_path: Path) -> None:
    folder = tmp_path / "zoo's net"
    model = timm_folder(folder)
    config = json.loads((folder / "config.json").read_text())
    for path in (folder, folder / "model.safetensors"):
        outside = read_outside(path, {})
        assert outside.teacher.name == "zoo-s-net"
        assert outside.teacher.network == "timm:test_resnet"
        assert outside.teacher.spec.size == config["pretrained_cfg"]["input_size"][1] == 160
        assert list(outside.teacher.spec.mean) == config["pretrained_cfg"]["mean"]
        assert outside.teacher.spec.classes == tuple(CLASSES)
        assert {key for key, origin in outside.origins.items() if origin != "declared"} == {"name"}
        assert same_logits(outside, model)
    # What a person says counts more.
    assert read_outside(folder, {"image_size": 64}).teacher.spec.size == 64


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architecture": "os.system"}, "config.json: architecture: must be one of timm's"),
        ({"architecture": "no_net"}, "timm has no classifier 'no_net'"),
        (
            {"model_args": {"depths": [1]}},
            r"arguments: .* asks for \{'depths': \[1\]\}; arguments are only taken",
        ),
        ({"label_names": ["a", "b"]}, "classes: 2 names declared, but its tensors are for 4"),
        ({"label_names": {"a": 1}}, "config.json: classes: must be a list"),
        ({"pretrained_cfg": {"input_size": [1, 8, 9]}}, "images must be square"),
        ({"pretrained_cfg": {"mean": "0.5"}}, "config.json: mean: must be a list"),
        ({"pretrained_cfg": {"input_size": [1, 32, 32]}}, r"^mean: is not declared by .*; give 1 numbers"),
    ],
)
def test_a_folder_that_says_what_it_must_not_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    timm_folder(tmp_path / "net", **change)
    with pytest.raises(TeacherError, match=words) as error:
        read_outside(tmp_path / "net", {})
    assert str(error.value).isprintable()


def test_a_function_of_the_users_own_is_only_called_when_allowed(tmp_path: Path) -> None:
    model = home_made(width=3)
    torch.save(model.state_dict(), tmp_path / "a.pt")
    code = {"network": "tests.outside:home_made", "arguments": {"width": 3}, "image_size": 12}
    changes = {**code, "channels": 1, "mean": [0.5], "std": [0.1]}
    with pytest.raises(TeacherError, match=r"allow_code: the network tests\.outside:home_made runs Python"):
        read(tmp_path / "a.pt", **changes)
    outside = read(tmp_path / "a.pt", **changes, allow_code=True)
    assert same_logits(outside, model)
    with pytest.raises(TeacherError, match="classes: 3 names given, but its tensors are for 4"):
        read(tmp_path / "a.pt", **{**changes, "classes": ["a", "b", "c"]}, allow_code=True)
    # As one of ours its card names code, which only who names it too gets built.
    save_teacher(outside.teacher, tmp_path / "b.safetensors")
    with pytest.raises(TeacherError, match="network: must be a known network"):
        load_teacher(tmp_path / "b.safetensors")
    again = read_outside(tmp_path / "b.safetensors", code, allow_code=True)
    assert same_logits(again, model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    half = {
        name: one.to(dtype) if one.is_floating_point() else one for name, one in MODEL.state_dict().items()
    }
    torch.save(half, tmp_path / "a.pt")
    outside = read(tmp_path / "a.pt")
    assert "tensors of half precision become float32" in outside.notes[0]
    for name, tensor in outside.teacher.weights.items():
        assert tensor.dtype == MODEL.state_dict()[name].dtype
        assert torch.equal(tensor, half[name].to(tensor.dtype))
    ours = dataclasses.replace(
        outside.teacher,
        weights={name: one.to(half[name].dtype) for name, one in outside.teacher.weights.items()},
    )
    save_teacher(ours, tmp_path / "b.safetensors")
    assert torch.equal(
        load_teacher(tmp_path / "b.safetensors").weights["fc.weight"], half["fc.weight"].float()
    )


def test_a_state_dict_from_before_batches_were_counted_is_completed(tmp_path: Path) -> None:
    old = {name: one for name, one in MODEL.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "a.pt")
    outside = read(tmp_path / "a.pt")
    assert "BatchNorm counters that it lacks start at 0" in outside.notes[0]
    assert same_logits(outside, MODEL)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"network": None},
            r"^network: is not declared by .*a\.pt; give the architecture \(its tensors fit torchvision:",
        ),
        ({"mean": None}, r"^mean: is not declared by .*a\.pt; give 3 numbers, one a channel"),
        ({"std": None}, r"^std: is not declared by"),
        ({"classes": None}, r"^classes: is not declared by .*; give the names of its 4 classes in order"),
        ({"image_size": None}, r"^image_size: is not declared by"),
        ({"classes": ["a", "b"]}, r"a\.pt: classes: 2 names given, but its tensors are for 4"),
        ({"classes": ["a", "a", "b", "c"]}, r"a\.pt: classes: 'a' stands twice"),
        ({"channels": 1}, r"a\.pt: channels: 1 given, but its tensors are for 3"),
        ({"mean": [0.5]}, r"a\.pt: mean: must be 3 numbers"),
        ({"std": [0.0, 0.0, 0.0]}, r"a\.pt: std: must be a list of numbers from 1e-6"),
        ({"value_range": (1.0, 0.0)}, r"a\.pt: value_range: the first number must be below"),
        (
            {"network": "resnet20"},
            r"not the weights of resnet20: missing 'conv1.weight', 'bn1.weight', .* and 100 more, "
            r"unexpected .*; its tensors fit torchvision:shufflenet_v2_x0_5$",
        ),
    ],
)
def test_what_is_missing_or_contradicts_is_said_by_key(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    torch.save(MODEL.state_dict(), tmp_path / "a.pt")
    with pytest.raises(TeacherError, match=words) as error:
        read(tmp_path / "a.pt", **changes)
    assert str(error.value).isprintable()


def test_the_range_of_values_becomes_part_of_the_normalisation(tmp_path: Path) -> None:
    torch.save(MODEL.state_dict(), tmp_path / "a.pt")
    bytes_ = read(tmp_path / "a.pt", value_range=(0, 255), mean=[127.5] * 3, std=[51.0] * 3).teacher.spec
    assert (bytes_.mean, bytes_.std) == ((0.5,) * 3, (0.2,) * 3)
    signed = read(tmp_path / "a.pt", value_range=(-1, 1), mean=[0.0] * 3, std=[1.0] * 3).teacher.spec
    assert (signed.mean, signed.std) == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("network", "size", "words"),
    [
        ("resnet18", 32, "its tensors fit resnet18 (image_size up to 64)"),
        ("resnet18", 96, "its tensors fit resnet18 (image_size above 64) and torchvision:resnet18"),
        ("resnet8-w8", 32, "its tensors fit resnet8-w8"),
        ("torchvision:mobilenet_v2", 32, "its tensors fit torchvision:mobilenet_v2"),
    ],
)
def test_the_architecture_that_fits_is_found(network: str, size: int, words: str) -> None:
    classes = tuple(map(str, range(17)))
    spec = dataclasses.replace(SPEC, size=size, channels=3, classes=classes, mean=(0.0,) * 3, std=(1.0,) * 3)
    with torch.device("meta"):
        stored = {f"module.{name}": one for name, one in build_network(network, spec).state_dict().items()}
    assert closest(stored) == words
    without_a_few = {name: stored[name] for name in list(stored)[:-10]}
    assert closest(without_a_few).startswith("the closest known architecture is ")
    assert closest({"what": torch.zeros(3)}) == "no known architecture is close"


def test_ours_with_its_card_is_taken_as_it_is(tmp_path: Path) -> None:
    save_teacher(teacher(name="one"), tmp_path / "one.safetensors", licence="MIT")
    outside = read_outside(tmp_path / "one.safetensors", {"name": "two", "network": "resnet8-w8"})
    assert (outside.teacher.name, outside.extra) == ("two", {"licence": "MIT"})
    with pytest.raises(TeacherError, match=r"one\.json: mean: is \[0\.3\] in the card; leave it out"):
        read_outside(tmp_path / "one.safetensors", {"mean": [0.5]})


def test_a_folder_or_file_of_another_kind_says_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"")
    with pytest.raises(TeacherError, match=r"a\.h5: no kind of file that is read \(\.safetensors, \.pt"):
        read(tmp_path / "a.h5")
    with pytest.raises(
        TeacherError, match=r"a folder without config\.json and model\.safetensors or pytorch"
    ):
        read(tmp_path)
    with pytest.raises(TeacherError, match=r"gone\.pt: No such file"):
        read(tmp_path / "gone.pt")
