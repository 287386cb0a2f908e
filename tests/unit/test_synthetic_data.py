"""A run's synthetic images as a data set: what stands in it, read back by others, and what is refused."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from fusion.data.sources import DataSettings, load
from fusion.data.unlabelled import read_images
from fusion.teachers import load_teacher
from orchestrator import fuse
from orchestrator.cli import app
from orchestrator.errors import UserError
from orchestrator.synthetic_data import write_data_set
from tests.tiny import tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished fusion of digits."""
    torch.set_num_threads(1)
    tree = tiny_run(output=str(tmp_path_factory.mktemp("runs")), tracking={"enabled": False})
    return fuse(tree, console=Console(quiet=True)).folder


@pytest.fixture(scope="module")
def file(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """700 images: two batches of each of the two parties."""
    path = tmp_path_factory.mktemp("data") / "images.parquet"
    done = CliRunner().invoke(app, ["dataset", str(run), "--out", str(path), "--images", "701"])
    assert done.exit_code == 0, done.output
    assert "701 images of 2 parties" in done.output
    return path


def pixels(cell: dict[str, bytes]) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(cell["bytes"])))).unsqueeze(0)


def test_soft_labels_are_what_each_teacher_says_of_the_stored_image(run: Path, file: Path) -> None:
    frame = pd.read_parquet(file)
    assert len(frame) == 701
    assert frame["party"].value_counts().to_dict() == {"party-0": 351, "party-1": 350}
    assert frame["image"].map(lambda cell: cell["path"]).is_unique
    images = torch.stack([pixels(cell) for cell in frame["image"]]).float() / 255
    said = []
    for name in ("party-0", "party-1"):
        classifier = load_teacher(run / "teachers" / f"{name}.safetensors").build().eval()
        with torch.no_grad():
            said.append(torch.softmax(classifier(images).logits, dim=1))
        stored = torch.from_numpy(np.stack(frame[f"soft_labels_{name}"]))
        assert stored.dtype == torch.float32
        torch.testing.assert_close(stored, said[-1], rtol=1e-4, atol=1e-6)
    agreed = (said[0] + said[1]).argmax(dim=1)
    assert frame["label"].tolist() == agreed.tolist()
    assert images.std(dim=0).mean() > 0.01  # Not one image again and again.


def test_the_file_says_what_hugging_face_has_to_know(file: Path) -> None:
    schema = pq.read_schema(file)
    assert str(schema.field("image").type) == "struct<bytes: binary, path: string>"
    assert str(schema.field("soft_labels_party-0").type) == "list<element: float>"
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["image"] == {"_type": "Image"}
    assert features["label"]["names"] == list("0123456789")
    assert json.loads(schema.metadata[b"dfmf"])["classes"]["party-1"] == list("0123456789")


def test_it_is_a_source_of_data_for_another_run(run: Path, file: Path) -> None:
    train, _ = load(DataSettings(source="parquet", train=str(file), test=str(file)))
    assert train.images.shape == (701, 1, 8, 8)
    assert train.labels.tolist() == pd.read_parquet(file)["label"].tolist()
    spec = load_teacher(run / "teachers" / "party-0.safetensors").spec
    assert read_images(str(file), spec, "image").equal(train.images)  # And a transfer set.


def test_the_same_run_gives_the_same_bytes_and_more_images_begin_with_the_same(
    run: Path, file: Path, tmp_path: Path
) -> None:
    again, fewer = tmp_path / "again.parquet", tmp_path / "fewer.parquet"
    write_data_set(run, again, 701)
    assert again.read_bytes() == file.read_bytes()
    write_data_set(run, fewer, 301)
    for party in ("party-0", "party-1"):
        some, all_of = (
            [cell["bytes"] for cell in frame["image"][frame["party"] == party]]
            for frame in map(pd.read_parquet, (fewer, file))
        )
        assert some == all_of[: len(some)]


def test_it_is_written_a_batch_at_a_time(run: Path, tmp_path: Path) -> None:
    write_data_set(run, tmp_path / "images.parquet", 1500)
    written = pq.ParquetFile(tmp_path / "images.parquet").metadata
    sizes = [written.row_group(index).num_rows for index in range(written.num_row_groups)]
    assert sizes == [256] * 4 + [238] * 2


def test_what_cannot_be_written_is_said_and_leaves_nothing(run: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken.parquet"
    taken.touch()
    for to, expected in (
        (tmp_path / "images.csv", r"must end in \.parquet"),
        (taken, "is there already"),
        (tmp_path / "nowhere" / "images.parquet", "No such file or directory"),
    ):
        with pytest.raises(UserError, match=expected):
            write_data_set(run, to, 10)
    with pytest.raises(UserError, match="no finished run"):
        write_data_set(tmp_path, tmp_path / "images.parquet", 10)
    broken = shutil.copytree(run, tmp_path / "broken")
    (broken / "parties" / "party-1" / "generator.safetensors").unlink()
    with pytest.raises(UserError, match=r"party-1/generator\.safetensors: no such file"):
        write_data_set(broken, tmp_path / "images.parquet", 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "taken.parquet"]
