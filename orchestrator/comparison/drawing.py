"""A figure with the numbers behind it, as PNG, as SVG on light or dark ground, and as CSV."""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.comparison.compared import Comparison
from orchestrator.comparison.groups import Group
from orchestrator.errors import UserError
from orchestrator.run_folder import write_bytes

SIZE = (5.6, 4.0)
MOST_GROUPS = 8
"""More curves in one figure cannot be told apart; the CSV holds all groups."""
DOTS_PER_INCH = 130
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
SAME_IDENTIFIERS = "dfmf"
DARK = "#1b1d22"
BRIGHT = (
    *("#8ab4f8", "#fdb462", "#81c995", "#f28b82", "#c58af9"),
    *("#d7a27f", "#f8a5d8", "#bdc1c6", "#d9e26a", "#78d9ec"),
)
PLAIN = {"text.parse_math": False, "font.size": 10, "svg.hashsalt": SAME_IDENTIFIERS}
ON_DARK = {
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), "#ddd"
    ),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor"), DARK),
    "grid.color": "#888",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure, drawn when it is wanted."""

    name: str
    """Of its files."""
    title: str
    caption: str
    """What a mark is, what an error bar is, over how many."""
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    """The numbers behind it."""
    draw: Callable[[], Any]
    """Makes the matplotlib figure."""


def picture(plot: Plot, kind: str, *, dark: bool = False) -> bytes:
    """The figure as a 'png' or 'svg' file, the same bytes for the same numbers."""
    with _style(dark):
        file = io.BytesIO()
        metadata: Mapping[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
        plot.draw().savefig(file, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
    return file.getvalue()


def csv_text(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Numbers with all digits, nothing for None; a text that a spreadsheet would take for a formula gets an
    apostrophe before it."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([[_cell(value) for value in row] for row in (header, *rows)])
    return file.getvalue()


def write_figures(folder: Path, plots: Sequence[Plot], tables: Mapping[str, str]) -> list[Path]:
    """Each figure as PNG with its numbers as CSV, and further CSV texts by name; each file whole or absent.

    Raises:
        UserError: the folder cannot be written to.
    """
    contents: dict[str, bytes] = {f"{name}.csv": text.encode() for name, text in tables.items()}
    for plot in plots:
        contents[f"{plot.name}.png"] = picture(plot, "png")
        contents[f"{plot.name}.csv"] = csv_text(plot.header, plot.rows).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_bytes(folder / name, content)
    except OSError as error:
        raise UserError(f"--to: cannot write to {folder}: {error.strerror}") from error
    return [folder / name for name in contents]


def new_figure(columns: int = 1) -> tuple[Any, Any]:
    """A figure and its axes, side by side with one scale if there are several."""
    from matplotlib.figure import Figure  # A second of import time that not every caller needs.

    figure = Figure(figsize=SIZE, layout="constrained")
    return figure, figure.subplots(1, columns, sharey=True)


def legend_below(figure: Any, axes: Any) -> None:
    """A legend of what `axes` has labels for, if it has any."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small")


def shown_groups(comparison: Comparison) -> list[Group]:
    """Those that fit into one figure: the reference and the best of the others, in the table's order."""
    rows = [row for row in comparison.rows if row.score is not None]
    order = sorted(rows, key=lambda row: row.score.mean if row.score else 0.0, reverse=True)
    best = [row.group for row in order if row.group is not comparison.reference]
    chosen = [comparison.reference, *best[: MOST_GROUPS - 1]]
    return [row.group for row in rows if any(row.group is one for one in chosen)]


def of_how_many(comparison: Comparison) -> str:
    """A sentence if not all groups are shown."""
    every = sum(bool(group.runs) for group in comparison.groups)
    if every <= MOST_GROUPS:
        return ""
    return f" Shown are the reference and the best {MOST_GROUPS - 1} of {every} groups; the CSV has all."


def legend_label(group: Group) -> str:
    """With the number of seeds; matplotlib hides labels that begin with an underscore."""
    return f"{short(group.label).lstrip('_')} (n = {len(group.runs)})"


def short(text: str, at_most: int = 36) -> str:
    """A text that fits into a figure."""
    return text if len(text) <= at_most else text[: at_most - 1] + "…"


def measured(comparison: Comparison) -> str:
    """The axis of what is compared."""
    if comparison.measure == "accuracy":
        return "test accuracy in %"
    return "agreement with the ensemble in %"


@contextmanager
def _style(dark: bool) -> Iterator[None]:
    import matplotlib as mpl
    from matplotlib.rcsetup import cycler

    settings: dict[Any, Any] = dict(PLAIN)
    if dark:
        settings |= {**ON_DARK, "axes.prop_cycle": cycler(color=BRIGHT)}
    with mpl.rc_context(settings):
        yield


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return value
    text = str(value)
    return f"'{text}" if text.startswith(FORMULAS) else text
