"""What a configuration and the command line make of other people's files."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner

from fusion.algorithm import fuse, warm_up
from fusion.assembly import build_party, build_student
from fusion.evaluation import calibration_error
from fusion.teachers import load_teacher, save_teacher
from orchestrator.cli import app
from orchestrator.errors import UserError
from orchestrator.loading import dump_config, parse_config
from orchestrator.sources import read_source
from orchestrator.teacher_source import TeacherSource
from orchestrator.teachers import read_teachers
from tests.outside import CLASSES, GIVEN, home_made, torchvisions
from tests.tiny import CPU, settings, teacher, tiny_run

HOME_MADE: dict[str, Any] = {
    "network": "tests.outside:home_made",
    "arguments": {"width": 3},
    "allow_code": True,
    "classes": CLASSES,
    "image_size": 8,
    "channels": 1,
    "mean": [0.5],
    "std": [0.2],
}


def saved(folder: Path, name: str, **changes: Any) -> dict[str, Any]:
    """A home-made classifier as a file, and what a configuration says of it."""
    torch.save(home_made(width=3).state_dict(), folder / name)
    return {"source": str(folder / name), **HOME_MADE, **changes}


def refused(*teachers: Any) -> str:
    config = parse_config(tiny_run(teachers=list(teachers), pretrain=None, data=None), "test")
    with pytest.raises(UserError) as error:
        read_teachers(config)
    assert str(error.value).isprintable()
    return str(error.value)


def test_teachers_of_three_kinds_are_fused(tmp_path: Path) -> None:
    torch.save(torch.nn.DataParallel(torchvisions()).state_dict(), tmp_path / "zoo.pth")
    save_teacher(teacher(name="ours"), tmp_path / "ours.safetensors")
    zoo = {**GIVEN, "classes": CLASSES, "image_size": 8, "mean": [0.5] * 3, "std": [0.2] * 3}
    grey = {"source": str(tmp_path / "grey.pth"), **zoo, "mean": [0.5], "std": [0.2]}
    model = torchvisions()
    model.conv1[0] = torch.nn.Conv2d(1, 24, 3, stride=2, padding=1, bias=False)  # type: ignore[index,operator]
    torch.save(model.state_dict(), tmp_path / "grey.pth")
    tree = tiny_run(
        teachers=[str(tmp_path / "ours.safetensors"), saved(tmp_path, "home.pt"), grey],
        pretrain=None,
        data=None,
    )
    config = parse_config(tree, "test")
    assert parse_config(yaml.safe_load(dump_config(config)), "again") == config
    teachers = read_teachers(config)
    assert [one.name for one in teachers] == ["ours", "home", "grey"]
    chosen = settings()
    parties = [build_party(index, 3, one, chosen, CPU) for index, one in enumerate(teachers)]
    student = build_student(teachers, chosen, CPU)
    warm_up(parties, chosen.schedule)
    fuse(parties, student, chosen.schedule)
    metrics = student.meter.take()
    assert {f"student/{one.name}/vid" for one in teachers} < metrics.keys()
    assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())


def test_the_key_that_is_missing_is_named_with_its_place(tmp_path: Path) -> None:
    good, second = saved(tmp_path, "a.pt"), saved(tmp_path, "b.pt", mean=None)
    assert refused(good, second).startswith(
        f"teachers.1.mean: is not declared by {tmp_path / 'b.pt'}; give 1"
    )
    assert refused(saved(tmp_path, "c.pt", classes=["a", "b"])) == (
        f"teachers.0.source: {tmp_path / 'c.pt'}: classes: 2 names given, but its tensors are for 4"
    )
    assert "teachers.0.classes: " in refused(saved(tmp_path, "d.pt", classes=str(tmp_path / "gone.txt")))


def test_one_classifier_under_two_names_is_refused(tmp_path: Path) -> None:
    one = saved(tmp_path, "a.pt")
    torch.save({"state_dict": torch.load(tmp_path / "a.pt")}, tmp_path / "b.ckpt")
    twin = {**one, "source": str(tmp_path / "b.ckpt")}
    assert refused(one, twin) == "teachers.1: b has the same weights as a; name each once"


@pytest.mark.parametrize(("file", "text"), [("c.txt", "a\nb\n\nc\nd\n"), ("c.json", '["a", "b", "c", "d"]')])
def test_classes_may_stand_in_a_file(file: str, text: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text)
    section = TeacherSource(**saved(tmp_path, "a.pt") | {"classes": str(tmp_path / file)})
    assert read_source(section).teacher.spec.classes == tuple(CLASSES)


def test_sources_may_be_elsewhere(tmp_path: Path) -> None:
    save_teacher(teacher(name="one"), tmp_path / "one.safetensors")
    bucket = f"/{uuid.uuid4()}"
    there = MemoryFileSystem()
    for name in ("one.safetensors", "one.json"):
        there.pipe(f"{bucket}/{name}", (tmp_path / name).read_bytes())
    for place in (f"memory:/{bucket}/one.safetensors", f"file://{tmp_path}/one.safetensors"):
        assert read_source(TeacherSource(source=place)).teacher.name == "one"
    there.pipe(f"{bucket}/one.safetensors", b"damaged")
    with pytest.raises(UserError) as error:
        read_source(TeacherSource(source=f"memory:/{bucket}/one.safetensors"), "teachers.0.")
    assert str(error.value).startswith(
        f"teachers.0.source: memory:/{bucket}/one.safetensors: truncated or changed"
    )
    for place, words in (
        (f"memory:/{bucket}/gone.pt", "No such file or folder"),
        ("nowhere://bucket/a.pt", "Protocol not known: nowhere"),
    ):
        with pytest.raises(UserError, match=words) as error:
            read_source(TeacherSource(source=place))
        assert str(error.value).startswith(f"source: {place}: ")


def test_whatever_a_file_system_raises_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As aiohttp's errors, of https://, are no OSErrors."""

    class ClientResponseError(Exception): ...

    def refuse(*_: Any, **__: Any) -> None:
        raise ClientResponseError("404, message='Not Found'")

    monkeypatch.setattr(MemoryFileSystem, "info", refuse)
    with pytest.raises(UserError, match=r"^source: memory://zoo/a.pt: 404, message='Not Found'$"):
        read_source(TeacherSource(source="memory://zoo/a.pt"))


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["teachers", *arguments])
    assert done.exit_code == 0, done.output + str(done.exception)
    return done.output


def test_inspect_tells_what_a_fusion_will_use(tmp_path: Path) -> None:
    classes = json.dumps([str(digit) for digit in range(10)])
    torch.save(home_made(width=3, classes=10).state_dict(), tmp_path / "a.pt")
    given = [
        *("network=tests.outside:home_made", "arguments={width: 3, classes: 10}", "allow_code=true"),
        *(f"classes={classes}", "image_size=8", "channels=1", "mean=[0.5]", "std=[0.2]", "licence=MIT"),
    ]
    numbers = tmp_path / "a.json.txt"
    said = run("inspect", str(tmp_path / "a.pt"), *given, "--data", "digits", "--json", str(numbers))
    parameters = sum(one.numel() for one in home_made(width=3, classes=10).parameters())
    # 3x3 convolutions of 1 to 3 and 3 to 6 channels on 8x8 pixels, and 6 to 10 numbers.
    assert f"parameters: {parameters}; multiply-accumulates of one image: {64 * 9 * (3 + 18) + 60:,}" in said
    assert "BatchNorm layers: 1, of which 0 have statistics that are not 0 and 1" in said
    assert "these statistics are those of a network that was never trained; VID on a map of 6x8x8" in said
    assert "licence: MIT (given)" in said
    assert "expected calibration error" in said
    report = json.loads(numbers.read_text())
    assert 0 <= report["accuracy"] <= 100
    assert report["origins"]["name"] == "inferred"
    assert "of which 9 have statistics" in run("inspect", _ours(tmp_path))


def _ours(folder: Path) -> str:
    save_teacher(teacher(name="one"), folder / "one.safetensors")
    return str(folder / "one.safetensors")


def test_convert_writes_one_of_ours(tmp_path: Path) -> None:
    model = torchvisions()
    torch.save(
        {"state_dict": {f"model.{name}": one for name, one in model.state_dict().items()}},
        tmp_path / "a.ckpt",
    )
    given = [f"{key}={json.dumps(value)}" for key, value in GIVEN.items()]
    said = run(
        "convert", str(tmp_path / "a.ckpt"), *given, "licence=MIT", "--to", str(tmp_path / "b.safetensors")
    )
    assert "the prefix 'model.' of its tensors' names is stripped" in said
    converted = load_teacher(tmp_path / "b.safetensors")
    assert converted.network == GIVEN["network"]
    assert all(torch.equal(converted.weights[name], one) for name, one in model.state_dict().items())
    assert json.loads((tmp_path / "b.json").read_text())["licence"] == "MIT"
    again = CliRunner().invoke(
        app,
        ["teachers", "convert", str(tmp_path / "a.ckpt"), *given, "--to", str(tmp_path / "b.safetensors")],
    )
    assert again.exit_code == 2
    wrong = CliRunner().invoke(app, ["teachers", "inspect", str(tmp_path / "a.ckpt"), "colour=1", "mean=x"])
    assert wrong.exit_code == 2


def test_classes_get_the_names_that_a_label_map_gives_them(tmp_path: Path) -> None:
    ours, there = _ours(tmp_path), str(tmp_path / "b.safetensors")
    assert "classes: 4 (declared): cat, b, c, d" in run("inspect", ours, "label_map={a: cat}")
    run("convert", ours, "label_map={a: cat}", "--to", there)
    assert load_teacher(Path(there)).spec.classes == ("cat", "b", "c", "d")
    for label_map, words in (("{x: cat}", "label_map: one has no class 'x'"), ('{a: "a\\nb"}', "class")):
        said = CliRunner().invoke(
            app, ["teachers", "convert", ours, f"label_map={label_map}", "--to", f"{tmp_path}/c.safetensors"]
        )
        assert (said.exit_code, len(said.output.splitlines())) == (2, 1), said.output
        assert words in said.output


def test_the_calibration_error_is_the_mean_gap_of_confidence_and_accuracy() -> None:
    """Two images at confidence 0.8, one of them right, and two at 0.6, both right: (|1.6 - 1| + |1.2 - 2|) /
    4."""
    probabilities = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.4, 0.6]], dtype=torch.double)
    found = calibration_error(probabilities.log(), torch.tensor([0, 1, 1, 1]))
    assert found == pytest.approx((0.6 + 0.8) / 4)
