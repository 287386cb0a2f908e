"""Pictures of a run: synthetic images over time, accuracy, and the adversarial loss of the paper's Fig. 4."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GRID_COLUMNS = 8
SMALLEST_TILE = 64


def image_grid(images: NDArray[np.uint8]) -> Image.Image:
    """Images [count, channels, size, size] as rows of eight, small ones enlarged."""
    count, channels, size, _ = images.shape
    columns = min(GRID_COLUMNS, count)
    rows = count // columns
    tiles = images[: rows * columns].reshape(rows, columns, channels, size, size)
    padded = np.pad(tiles, ((0, 0), (0, 0), (0, 0), (0, 1), (0, 1)), constant_values=255)
    sheet = padded.transpose(0, 3, 1, 4, 2).reshape(rows * (size + 1), columns * (size + 1), channels)
    picture = Image.fromarray(sheet.squeeze(2) if channels == 1 else sheet)
    scale = max(1, SMALLEST_TILE // size)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def plot_accuracy(path: Path, accuracies: Sequence[float], references: Sequence[tuple[str, float]]) -> None:
    """The student's accuracy over epochs, with lines for what it is compared with."""
    figure, axes = _figure()
    axes.plot(range(1, len(accuracies) + 1), accuracies, marker=".", label="student")
    for index, (name, value) in enumerate(references):
        axes.axhline(value, linestyle="--", linewidth=1, color=f"C{index + 1}", label=f"{name} {value:.1f}")
    axes.set(xlabel="epoch", ylabel="test accuracy in percent")
    axes.xaxis.get_major_locator().set_params(integer=True)
    _finish(figure, axes, path)


def plot_metrics(path: Path, curves: Mapping[str, Sequence[float]], label: str) -> None:
    """Curves over epochs."""
    figure, axes = _figure()
    for name, values in curves.items():
        axes.plot(range(1, len(values) + 1), values, label=name)
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    _finish(figure, axes, path)


def plot_subsets(path: Path, scores: Sequence[tuple[str, Sequence[float | None]]]) -> None:
    """Accuracy on the classes that are frequent at each party, a group of bars a classifier (supplement,
    Fig. 2); no bar for None."""
    figure, axes = _figure()
    width = 0.8 / len(scores)
    for index, (name, values) in enumerate(scores):
        heights = np.array(values, dtype=float)  # None becomes NaN.
        axes.bar(np.arange(len(values)) + index * width, heights, width, label=name)
    count = len(scores[0][1])
    axes.set_xticks(
        np.arange(count) + 0.4 - width / 2, [f"classes of party {party}" for party in range(count)]
    )
    axes.set(ylabel="test accuracy in percent")
    _finish(figure, axes, path)


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # A second of import time that only a finished run needs.

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    return figure, figure.subplots()


def _finish(figure: Any, axes: Any, path: Path) -> None:
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(path, dpi=110)
