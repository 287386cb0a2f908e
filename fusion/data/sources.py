"""Data sets by name, as a training and a test part in memory."""

import contextlib
import dataclasses
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fusion.data.decoding import decode, first_line
from fusion.data.labelled import DataError, LabelledImages
from fusion.settings import Settings, setting

Source: TypeAlias = Literal["digits", "fashion-mnist", "cifar10", "cifar100", "folder", "parquet"]
Parts: TypeAlias = tuple[LabelledImages, LabelledImages]

DIGITS_TEST_IMAGES = 500
FASHION_MNIST_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings(Settings):
    """Labelled images for pretraining and evaluation."""

    source: Source = setting(
        "digits",
        "'digits' (scikit-learn's, embedded), 'fashion-mnist', 'cifar10', 'cifar100' (torchvision's files "
        "under 'root', downloaded where there is a network), 'folder' (root/train/CLASS/* and "
        "root/test/CLASS/*) or 'parquet'. Both parts, training and test, have to be there, also where only "
        "the test images are used.",
    )
    root: str = setting("data", "Folder with the files of every source but 'digits' and 'parquet'.")
    train: str | None = setting(None, "Parquet file with the training images; only for 'parquet'.")
    test: str | None = setting(None, "Parquet file with the test images; only for 'parquet'.")
    image_column: str = setting(
        "image", "Parquet column with encoded images: bytes, or a struct with a field 'bytes'."
    )
    label_column: str = setting("label", "Parquet column with integer labels from 0.")
    classes: tuple[str, ...] | None = setting(None, "Class names in order of the labels; only for 'parquet'.")
    image_size: int | None = setting(
        None,
        "Height and width that images are resized to; needed for 'folder', else empty keeps theirs.",
        at_least=8,
    )


def load(settings: DataSettings) -> Parts:
    """Read the training and the test part.

    Raises:
        DataError: a file is missing, unreadable or damaged, and the message names it; or the parts' images
            differ in size.
    """
    train, test = _LOADERS[settings.source](settings)
    if settings.image_size is not None:
        train, test = _resized(train, settings.image_size), _resized(test, settings.image_size)
    if train.size != test.size:
        raise DataError(f"training images are {train.size} pixels, test images {test.size}; set 'image_size'")
    channels = max(train.channels, test.channels)
    return _coloured(train, channels), _coloured(test, channels)


def _digits(_: DataSettings) -> Parts:
    from sklearn.datasets import load_digits  # Only this source needs scikit-learn.

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    whole = LabelledImages(
        torch.from_numpy(pixels).unsqueeze(1),
        torch.from_numpy(bunch.target.astype(np.int64)),
        tuple("0123456789"),
    )
    order = np.random.default_rng(0).permutation(len(whole))
    cut = len(whole) - DIGITS_TEST_IMAGES
    return whole.subset(order[:cut]), whole.subset(order[cut:])


def _fashion_mnist(settings: DataSettings) -> Parts:
    root = Path(settings.root)
    folders = (root / "FashionMNIST" / "raw", root)
    if not any(_idx_file(folder, "train-images-idx3-ubyte") for folder in folders):
        _download("FashionMNIST", root)
    folder = next(folder for folder in folders if _idx_file(folder, "train-images-idx3-ubyte"))
    return tuple(  # type: ignore[return-value]
        LabelledImages(
            _read_idx(folder, f"{part}-images-idx3-ubyte").unsqueeze(1),
            _read_idx(folder, f"{part}-labels-idx1-ubyte").long(),
            FASHION_MNIST_CLASSES,
        )
        for part in ("train", "t10k")
    )


def _idx_file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read_idx(folder: Path, name: str) -> Tensor:
    """An IDX file, gzipped or not: two zero bytes, type 8, the number of dimensions, each as big-endian
    int32, bytes."""
    path = _idx_file(folder, name)
    if path is None:
        raise DataError(f"{folder / name} (or {name}.gz): no such file")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        shape = np.frombuffer(data, dtype=">i4", count=data[3], offset=4).tolist()
        values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"{path}: damaged or truncated ({error})") from error
    return torch.from_numpy(values.copy())


def _cifar(name: str, classes: Callable[[Any], tuple[str, ...]]) -> Callable[[DataSettings], Parts]:
    def read(settings: DataSettings) -> Parts:
        train, test = _download(name, Path(settings.root))
        return _from_cifar(train, classes(train)), _from_cifar(test, classes(test))

    return read


def _from_cifar(dataset: Any, classes: tuple[str, ...]) -> LabelledImages:
    pixels = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    return LabelledImages(pixels, torch.tensor(dataset.targets), classes)


def _download(name: str, root: Path) -> tuple[Any, Any]:
    """torchvision's data set from `root`, downloaded first if it is not there."""
    from torchvision import datasets

    folders = [folder for folder in (root / name / "raw", root / name, root) if not folder.exists()]
    try:
        parts = [getattr(datasets, name)(str(root), train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError, EOFError) as error:
        for folder in folders:  # What torchvision made for a download that did not come.
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise DataError(
            f"{root}: {name} is not there or damaged, and could not be downloaded ({first_line(error)})"
        ) from error
    return parts[0], parts[1]


def _folder(settings: DataSettings) -> Parts:
    from torchvision.datasets import ImageFolder

    if settings.image_size is None:
        raise DataError("a folder's images need 'image_size'")
    root = Path(settings.root)
    parts = []
    for part in ("train", "test"):
        try:
            folder = ImageFolder(str(root / part))
            encoded = (Path(path).read_bytes() for path, _ in folder.samples)
            images = decode(encoded, [path for path, _ in folder.samples], settings.image_size)
        except OSError as error:
            where, what = error.filename or root / part, error.strerror or first_line(error)
            raise DataError(f"{where}: {what}") from error
        parts.append(LabelledImages(images, torch.tensor(folder.targets), tuple(folder.classes)))
    if parts[0].classes != parts[1].classes:
        raise DataError(f"{root}: train and test have different classes")
    return parts[0], parts[1]


def _parquet(settings: DataSettings) -> Parts:
    if settings.train is None or settings.test is None:
        raise DataError("'parquet' needs 'train' and 'test'")
    train, test = (_read_parquet(Path(path), settings) for path in (settings.train, settings.test))
    count = max(int(train.labels.max()), int(test.labels.max())) + 1
    classes = settings.classes or tuple(str(label) for label in range(count))
    return dataclasses.replace(train, classes=classes), dataclasses.replace(test, classes=classes)


def _read_parquet(path: Path, settings: DataSettings) -> LabelledImages:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: no readable Parquet file ({first_line(error)})") from error
    for column in (settings.image_column, settings.label_column):
        if column not in table.column_names:
            raise DataError(
                f"{path}: there is no column {column!r} (there are {', '.join(table.column_names)})"
            )
    column = table.column(settings.label_column)
    if not pa.types.is_integer(column.type) or column.null_count:
        what = f"{column.null_count} empty" if column.null_count else str(column.type)
        raise DataError(f"{path}: column {settings.label_column!r} must hold whole numbers (has {what})")
    cells = table.column(settings.image_column).to_pylist()
    encoded = [cell.get("bytes") if isinstance(cell, dict) else cell for cell in cells]
    images = decode(encoded, [f"{path}, row {row}" for row in range(len(encoded))], settings.image_size)
    labels = torch.tensor(column.to_pylist(), dtype=torch.int64)
    return LabelledImages(images, labels, tuple(str(label) for label in range(int(labels.max()) + 1)))


def _coloured(part: LabelledImages, channels: int) -> LabelledImages:
    if part.channels == channels:
        return part
    return dataclasses.replace(part, images=part.images.expand(-1, channels, -1, -1).contiguous())


def _resized(part: LabelledImages, size: int) -> LabelledImages:
    if part.size == size:
        return part
    images = torch.nn.functional.interpolate(
        part.images.float(), size=(size, size), mode="bilinear", antialias=True
    )
    return dataclasses.replace(part, images=images.round_().clamp_(0, 255).to(torch.uint8))


_LOADERS: dict[Source, Callable[[DataSettings], Parts]] = {
    "digits": _digits,
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar("CIFAR10", lambda _: CIFAR10_CLASSES),
    "cifar100": _cifar("CIFAR100", lambda dataset: tuple(dataset.classes)),
    "folder": _folder,
    "parquet": _parquet,
}
