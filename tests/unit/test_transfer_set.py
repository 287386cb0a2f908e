"""Transfer sets: worked by hand, against SciPy, and as whole runs; and what is refused."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from scipy.spatial.distance import directed_hausdorff

from fusion.data.sources import DataSettings, load
from fusion.data.unlabelled import read_images
from fusion.transfer_set import choose, dealt, embeddings, hausdorff, noise_images
from orchestrator import fuse
from orchestrator.errors import Interrupted, RunFailed, UserError
from orchestrator.loading import parse_config
from orchestrator.sweep.paths import absolute
from orchestrator.transfer import check_sources
from tests.tiny import CPU, SPEC, teacher, tiny_run


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_balanced_set_takes_of_the_base_first_and_fills_up_from_the_next() -> None:
    base, second = torch.tensor([0] * 5 + [1]), torch.tensor([0, 1, 1, 1, 2])
    chosen = choose([base, second], 3, most=6, balanced=True, stream=stream())
    assert chosen.frequencies == [[5, 1, 0], [1, 3, 1]]
    assert chosen.counts([base, second], 3) == [2, 2, 1]  # There is no second image of class 2.
    assert sorted(base[chosen.places[0]].tolist()) == [0, 0, 1]
    assert sorted(second[chosen.places[1]].tolist()) == [1, 2]
    assert len(set(chosen.places[0].tolist())) == 3
    others = [choose([base], 3, most=6, balanced=True, stream=stream(seed)).places[0] for seed in range(9)]
    assert len({tuple(sorted(one.tolist())) for one in others}) > 1  # Which two of the five is chance.


def test_an_unbalanced_set_is_as_it_comes() -> None:
    labels = [torch.zeros(30, dtype=torch.int64), torch.ones(10, dtype=torch.int64)]
    every = choose(labels, 2, most=100, balanced=False, stream=stream())
    assert [one.tolist() for one in every.places] == [list(range(30)), list(range(10))]
    some = choose(labels, 2, most=20, balanced=False, stream=stream())
    assert sum(map(len, some.places)) == 20
    assert len(some.places[0]) > len(some.places[1]) > 0


def test_fewer_classes_have_more_images_each() -> None:
    labels = [torch.arange(4).repeat(10), torch.arange(4).repeat(3)]
    for among, expected in ((1, [12, 0, 0, 0]), (2, [6, 6, 0, 0]), (4, [3, 3, 3, 3]), (None, [3, 3, 3, 3])):
        chosen = choose(labels, 4, most=12, balanced=True, stream=stream(), among=among)
        assert chosen.counts(labels, 4) == expected
    as_they_come = choose(labels, 4, most=12, balanced=False, stream=stream(), among=2)
    counts = as_they_come.counts(labels, 4)
    assert (sum(counts), counts[2:]) == (12, [0, 0])
    assert len(set(as_they_come.places[0].tolist())) == len(as_they_come.places[0])
    assert [one[0] for one in as_they_come.frequencies] == [10, 3]  # Of all that there are.


def test_parties_get_equally_many_of_each_class() -> None:
    labels = torch.tensor([0] * 7 + [1] * 6 + [2] * 4)
    parts = dealt(labels, 3, stream())
    assert [len(part) for part in parts] == [5, 5, 5]
    assert len(set(torch.cat(parts).tolist())) == 15
    counts = torch.stack([torch.bincount(labels[part], minlength=3) for part in parts])
    assert (counts.amax(dim=0) - counts.amin(dim=0)).max() <= 1


def test_hausdorff_agrees_with_scipy() -> None:
    one, other = torch.randn(700, 5, generator=stream(1)), 2 * torch.randn(40, 5, generator=stream(2))
    expected = max(directed_hausdorff(one, other)[0], directed_hausdorff(other, one)[0])
    assert hausdorff(one, other) == pytest.approx(expected, rel=1e-5)
    assert hausdorff(other, one) == hausdorff(one, other)
    assert hausdorff(one, one) == 0


def test_an_embedding_is_what_the_last_layer_of_a_resnet_takes() -> None:
    classifier = teacher(0).build().eval()
    taken: list[torch.Tensor] = []
    last = [one for one in classifier.modules() if isinstance(one, torch.nn.Linear)][-1]
    last.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    images = noise_images(4, SPEC, stream())
    torch.testing.assert_close(embeddings(classifier, images, CPU), taken[0])


def test_images_are_read_from_files_and_folders_and_made_to_fit(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(3, 16, 12, 3), dtype=np.uint8)
    (tmp_path / "inner").mkdir()
    for index, one in enumerate(pixels):
        Image.fromarray(one).save(tmp_path / "inner" / f"{index}.png")
    (tmp_path / "notes.txt").touch()
    write_parquet(tmp_path / "same.parquet", pixels)
    found = read_images(str(tmp_path), SPEC, "image")
    assert found.shape == (3, 1, 8, 8)
    assert found.equal(read_images(str(tmp_path / "same.parquet"), SPEC, "image"))
    grey = np.asarray(Image.fromarray(pixels[1]).convert("L").resize((8, 8), Image.Resampling.BILINEAR))
    assert found[1, 0].tolist() == grey.tolist()


def write_parquet(path: Path, pixels: Sequence[Any]) -> Path:
    cells = []
    for one in pixels:
        file = io.BytesIO()
        Image.fromarray(one).save(file, format="PNG")
        cells.append({"bytes": file.getvalue(), "path": None})
    pq.write_table(pa.table({"image": cells}), path)
    return path


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real digits, of which a transfer set has to come out well."""
    train, _ = load(DataSettings(source="digits"))
    return write_parquet(tmp_path_factory.mktemp("digits") / "digits.parquet", train.images[:, 0].numpy())


QUICK = ("pretrain.recipe.epochs=1", "pretrain.recipe.milestones=[1]", "pretrain.gold_standard=false")


def run(folder: Path, sources: Sequence[str], method: dict[str, Any], *overrides: str) -> Path:
    schedule = {"warmup_epochs": 0, "epochs": 2, "iterations_per_epoch": 3, "batch_size": 32}
    named = {"name": "transfer_set"} | ({"sources": list(sources)} if sources else {})
    tree = tiny_run(
        method={**named, **method},
        schedule=schedule,
        output=str(folder),
        tracking={"enabled": False},
        checkpoint={"cache": str(folder.parent / "cache")},
    )
    return fuse(tree, *overrides, console=Console(quiet=True)).folder


def test_a_student_learns_from_unrelated_images_as_many_of_each_class(digits: Path, tmp_path: Path) -> None:
    folder = run(tmp_path / "runs", [str(digits), "noise"], {"images": 300})
    about = json.loads((folder / "transfer_set.json").read_text())
    assert max(about["per_class"]) == 30
    assert sum(about["per_class"]) > 250
    assert [one["images"] for one in about["sources"]] == [1297, 300]
    assert sum(about["sources"][0]["per_class"]) == 1297
    assert about["hausdorff"]["party-0"] > 0
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["iterations"]) == ("finished", 6)
    banks = [load_file(folder / "parties" / f"party-{party}" / "bank.safetensors") for party in (0, 1)]
    assert [int(bank["count"]) for bank in banks] == [sum(about["per_class"]) // 2] * 2
    inside = load(DataSettings(source="digits"))[0].images
    known = {one.numpy().tobytes() for one in inside}
    stored = [
        (one.float() * 255).round().to(torch.uint8) for one in banks[0]["images"][: int(banks[0]["count"])]
    ]
    assert sum(one.numpy().tobytes() in known for one in stored) > 100  # Not changed by being kept.

    unbalanced = run(tmp_path / "runs", [str(digits)], {"images": 300, "balanced": False}, "name=unbalanced")
    other = json.loads((unbalanced / "transfer_set.json").read_text())
    assert sum(other["per_class"]) == 300
    assert max(other["per_class"]) > 30


def test_a_run_that_was_stopped_ends_with_the_same_bits(digits: Path, tmp_path: Path) -> None:
    method = {"images": 200, "balanced": False}
    whole = run(tmp_path / "runs", [str(digits)], method, "name=whole")

    from orchestrator.stopping import Stopping
    from orchestrator.surroundings import Surroundings, open_engine

    def stop(epoch: int, _: object) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    around = Surroundings(engine=open_engine, tags={}, reported=stop, stopping=Stopping())
    config = whole / "config.yaml"
    changes = ("name=stopped", "checkpoint.every_iterations=1")
    with pytest.raises(Interrupted):
        fuse(str(config), *changes, console=Console(quiet=True), surroundings=around)
    again = fuse(resume=tmp_path / "runs" / "stopped", console=Console(quiet=True)).folder
    mine, theirs = (load_file(one / "student.safetensors") for one in (again, whole))
    assert all(mine[name].equal(theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("sources", "method", "expected"),
    [
        ([], {"sources": []}, "method.sources: must name at least one (got [])"),
        (["nowhere"], {}, "method.sources.0: nowhere: no such file or folder"),
        (["EMPTY"], {}, "no image in this folder"),
        (["DIGITS"], {"image_column": "img"}, "there is no column 'img' (there are image)"),
        (["noise"], {"images": 9}, "method.images: must be at least 10, an image of each class, or"),
    ],
)
def test_what_makes_no_transfer_set_is_said(
    digits: Path, tmp_path: Path, sources: list[str], method: dict[str, Any], expected: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"EMPTY": str(tmp_path / "empty"), "DIGITS": str(digits)}
    with pytest.raises(UserError) as caught:
        run(tmp_path / "runs", [places.get(one, one) for one in sources], method)
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ({"images": 300}, "method.sources: the teachers see no image of"),
        ({"balanced": False}, "3 images do not make a batch of 32"),
    ],
)
def test_what_only_teachers_see_is_said_and_they_are_kept(
    tmp_path: Path, method: dict[str, Any], expected: str
) -> None:
    black = write_parquet(tmp_path / "black.parquet", [np.zeros((8, 8), dtype=np.uint8)] * 3)
    with pytest.raises(RunFailed) as caught:
        run(tmp_path / "runs", [str(black)], method, *QUICK)
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(list(tmp_path.glob("runs/*/teachers/party-*.safetensors"))) == 2


def test_a_set_of_some_classes_needs_no_image_of_the_others(digits: Path, tmp_path: Path) -> None:
    folder = run(tmp_path / "runs", [str(digits)], {"images": 100, "classes": 2})
    about = json.loads((folder / "transfer_set.json").read_text())
    assert about["per_class"] == [50, 50, *[0] * 8]
    with pytest.raises(UserError, match=r"method\.classes: must be at most 10, the student's \(got 11\)"):
        run(tmp_path / "more", [str(digits)], {"classes": 11})
    assert not (tmp_path / "more").exists()


def test_a_source_that_is_not_there_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"method\.sources\.0: nowhere: no such file or folder"):
        run(tmp_path / "runs", ["nowhere"], {})
    assert not (tmp_path / "runs").exists()
    without = tiny_run(data=None, pretrain=None, teachers=["a.safetensors"], schedule={"warmup_epochs": 0})
    for method in ({"name": "vanilla_kd"}, {"name": "transfer_set", "sources": ["noise", "data"]}):
        with pytest.raises(UserError, match="data: needed for the training images that method"):
            check_sources(parse_config({**without, "method": method}, "run"))


def test_vanilla_distillation_is_on_the_teachers_own_images(tmp_path: Path) -> None:
    folder = run(tmp_path / "runs", [], {"name": "vanilla_kd"})
    about = json.loads((folder / "transfer_set.json").read_text())
    assert about["sources"][0]["source"] == "data"
    assert sum(about["per_class"]) == len(load(DataSettings(source="digits"))[0])


def test_without_enough_noise_the_classes_that_nobody_sees_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="add a source, or take it as it is"):
        run(tmp_path / "runs", ["noise"], {"images": 40}, *QUICK)


def test_the_sources_of_a_sweeps_trials_start_at_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    method = {"name": "transfer_set", "sources": ["mine.parquet", "noise"]}
    schedule = {"warmup_epochs": 0}
    whole = absolute(parse_config(tiny_run(method=method, schedule=schedule), "run"))
    assert whole.method.sources == (str(tmp_path / "mine.parquet"), "noise")  # type: ignore[union-attr]
