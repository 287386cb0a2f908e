import dataclasses
import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fusion.data.labelled import DataError, LabelledImages
from fusion.data.sources import DataSettings, load
from tests.conftest import CIFAR


def encoded(size: int = 8, mode: str = "RGB", value: int = 100, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (size, size), value if mode == "L" else (value, 2, 3)).save(buffer, kind)
    return buffer.getvalue()


def write_parquet(path: Path, images: list[object], labels: list[int]) -> Path:
    pq.write_table(pa.table({"image": images, "label": labels}), path)
    return path


def parquet(path: Path, **changes: object) -> DataSettings:
    return DataSettings(source="parquet", train=str(path), test=str(path), **changes)  # type: ignore[arg-type]


def test_digits_are_scikit_learns() -> None:
    train, test = load(DataSettings())
    assert (len(train), len(test), train.size, train.channels) == (1297, 500, 8, 1)
    assert train.images.max() == 255
    rows = {image.numpy().tobytes() for part in (train, test) for image in part.images}
    assert len(rows) > 1790  # nothing stands in both parts
    assert (
        len({image.numpy().tobytes() for image in train.images} & {i.numpy().tobytes() for i in test.images})
        < 5
    )


def test_images_are_resized_on_request() -> None:
    assert load(DataSettings(image_size=16))[0].images.shape == (1297, 1, 16, 16)


@pytest.mark.parametrize("struct_column", [False, True])
def test_parquet_with_bytes_or_structs(tmp_path: Path, struct_column: bool) -> None:
    cells = [encoded(value=value) for value in (10, 20, 30)]
    images = [{"bytes": cell, "path": None} for cell in cells] if struct_column else cells
    train, _ = load(parquet(write_parquet(tmp_path / "a.parquet", images, [0, 2, 1])))
    assert train.images[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert train.labels.tolist() == [0, 2, 1]
    assert train.classes == ("0", "1", "2")


def test_an_image_folder(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / "1.png").write_bytes(encoded(20))
    train, _ = load(DataSettings(source="folder", root=str(tmp_path), image_size=12))
    assert train.classes == ("cat", "dog")
    assert train.images.shape == (2, 3, 12, 12)


def test_grey_and_colour_images_together_are_in_colour(tmp_path: Path) -> None:
    grey, colour = encoded(mode="L", value=7), encoded(value=9)
    mixed = write_parquet(tmp_path / "mixed.parquet", [grey, colour], [0, 1])
    only = write_parquet(tmp_path / "grey.parquet", [grey, grey], [0, 1])
    train, test = load(DataSettings(source="parquet", train=str(mixed), test=str(only)))
    assert (train.channels, test.channels) == (3, 3)
    assert train.images[:, :, 0, 0].tolist() == [[7, 7, 7], [9, 2, 3]]
    assert test.images[:, :, 0, 0].tolist() == [[7, 7, 7]] * 2
    assert load(parquet(only))[0].channels == 1


def test_of_sixteen_bits_a_pixel_the_upper_eight_are_kept(tmp_path: Path) -> None:
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024 + 255
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    part, _ = load(parquet(write_parquet(tmp_path / "a.parquet", [buffer.getvalue()] * 2, [0, 1])))
    assert part.images[0, 0].flatten().tolist() == list(range(0, 256, 4))
    wide = io.BytesIO()
    Image.new("I", (8, 8)).save(wide, "TIFF")
    path = write_parquet(tmp_path / "wide.parquet", [wide.getvalue()], [0])
    with pytest.raises(DataError, match=r"row 0: no readable image \(32 bits a pixel\)"):
        load(parquet(path))


def test_training_and_test_images_are_of_one_size(tmp_path: Path) -> None:
    small = write_parquet(tmp_path / "small.parquet", [encoded(8)], [0])
    large = write_parquet(tmp_path / "large.parquet", [encoded(9)], [0])
    settings = DataSettings(source="parquet", train=str(large), test=str(small))
    with pytest.raises(DataError, match="training images are 9 pixels, test images 8; set 'image_size'"):
        load(settings)
    assert load(dataclasses.replace(settings, image_size=8))[0].size == 8


@pytest.mark.parametrize(
    ("labels", "words"),
    [(["a", "b"], r"\(has string\)"), ([0.0, 1.5], r"\(has double\)"), ([0, None], r"\(has 1 empty\)")],
)
def test_labels_that_are_no_whole_numbers(tmp_path: Path, labels: list[int], words: str) -> None:
    path = write_parquet(tmp_path / "a.parquet", [encoded(), encoded()], labels)
    with pytest.raises(DataError, match=f"a.parquet: column 'label' must hold whole numbers {words}"):
        load(parquet(path))


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape) + values.tobytes()


@pytest.mark.parametrize("zipped", [False, True])
def test_fashion_mnist_files_as_torchvision_or_debian_lay_them(tmp_path: Path, zipped: bool) -> None:
    folder = tmp_path if zipped else tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    images = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
    for part in ("train", "t10k"):
        for name, values in (("images-idx3", images), ("labels-idx1", np.array([0, 9, 5], dtype=np.uint8))):
            data = idx(values)
            path = folder / f"{part}-{name}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(data) if zipped else data)
    train, test = load(DataSettings(source="fashion-mnist", root=str(tmp_path)))
    assert torch.equal(train.images.squeeze(1), torch.from_numpy(images))
    assert test.labels.tolist() == [0, 9, 5]
    assert train.classes[9] == "Ankle boot"
    broken = folder / f"train-images-idx3-ubyte{'.gz' if zipped else ''}"
    broken.write_bytes(broken.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"train-images.*damaged or truncated"):
        load(DataSettings(source="fashion-mnist", root=str(tmp_path)))


def test_cifar_in_torchvisions_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    class Fake:
        def __init__(self, root: str, *, train: bool, download: bool) -> None:
            assert root == str(tmp_path)
            self.data = np.full((4, 32, 32, 3), 7 if train else 9, dtype=np.uint8)
            self.targets, self.classes = [0, 1, 2, 1], [f"c{index}" for index in range(100)]

    monkeypatch.setattr(datasets, "CIFAR10", Fake)
    monkeypatch.setattr(datasets, "CIFAR100", Fake)
    train, test = load(DataSettings(source="cifar10", root=str(tmp_path)))
    assert train.images.shape == (4, 3, 32, 32)
    assert (int(train.images[0, 0, 0, 0]), int(test.images[0, 0, 0, 0])) == (7, 9)
    assert train.classes[0] == "airplane"
    assert len(load(DataSettings(source="cifar100", root=str(tmp_path)))[0].classes) == 100


@pytest.mark.skipif(not CIFAR.exists(), reason="the CIFAR-10 Parquet files are not here")
def test_real_cifar_10() -> None:
    _, test = load(parquet(CIFAR / "test.parquet"))
    assert test.images.shape == (10000, 3, 32, 32)
    assert torch.bincount(test.labels).tolist() == [1000] * 10


def test_normalisation_is_that_of_the_pixels() -> None:
    part = load(DataSettings())[0]
    mean, std = part.normalisation()
    pixels = part.images.numpy() / 255
    assert mean[0] == pytest.approx(pixels.mean(), abs=1e-4)
    assert std[0] == pytest.approx(pixels.std(), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "no readable Parquet file"),
        ("truncated", "no readable Parquet file"),
        ("column", "there is no column 'image'"),
        ("image", "row 1: no readable image"),
        ("struct", "row 0: no readable image"),
        ("sizes", "not all square and of one size"),
        ("classes", "labels from 0 to 1, but 1 classes"),
        ("empty", "there is no image"),
    ],
)
def test_a_bad_parquet_file_is_named(tmp_path: Path, name: str, words: str) -> None:
    path = tmp_path / "bad.parquet"
    good = [encoded(), encoded()]
    changes: dict[str, object] = {}
    if name == "truncated":
        path.write_bytes(write_parquet(path, good, [0, 1]).read_bytes()[:-20])
    elif name == "column":
        pq.write_table(pa.table({"picture": good, "label": [0, 1]}), path)
    elif name == "image":
        write_parquet(path, [encoded(), b"no image"], [0, 1])
    elif name == "struct":
        write_parquet(path, [{"path": "a.png"}] * 2, [0, 1])
    elif name == "sizes":
        write_parquet(path, [encoded(8), encoded(9)], [0, 1])
    elif name == "classes":
        write_parquet(path, good, [0, 1])
        changes["classes"] = ("only",)
    elif name == "empty":
        pq.write_table(
            pa.table({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}), path
        )
    with pytest.raises(DataError, match=words) as error:
        load(parquet(path, **changes))
    assert "\n" not in str(error.value)


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train"):
        load(DataSettings(source="folder", root=str(tmp_path), image_size=8))
    with pytest.raises(DataError, match="need 'image_size'"):
        load(DataSettings(source="folder", root=str(tmp_path)))
    (tmp_path / "train").write_text("no folder")
    with pytest.raises(DataError, match="train: Not a directory"):
        load(DataSettings(source="folder", root=str(tmp_path), image_size=8))
    with pytest.raises(DataError, match="needs 'train' and 'test'"):
        load(DataSettings(source="parquet"))


def test_labels_must_fit_the_images() -> None:
    with pytest.raises(DataError, match="2 images, but 1 labels"):
        LabelledImages(torch.zeros(2, 1, 8, 8), torch.zeros(1, dtype=torch.int64), ("a",))


@pytest.mark.parametrize(("source", "name"), [("cifar10", "CIFAR10"), ("fashion-mnist", "FashionMNIST")])
def test_a_download_that_does_not_come_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str
) -> None:
    from torchvision import datasets

    def fail(root: str, *, train: bool, download: bool) -> None:
        (Path(root) / name / "raw").mkdir(parents=True)
        raise RuntimeError("no network\nat all")

    monkeypatch.setattr(datasets, name, fail)
    with pytest.raises(DataError, match=rf"data: {name} is not there or damaged.*\(no network\)$"):
        load(DataSettings(source=source, root=str(tmp_path / "data")))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
