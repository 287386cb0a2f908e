"""Results of the last epoch: by class and by party's classes (supplement, Figs. 2 and 3), against the time,
and all parameters of all runs at once."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from orchestrator.comparison.compared import Comparison
from orchestrator.comparison.drawing import (
    Plot,
    legend_below,
    legend_label,
    measured,
    new_figure,
    of_how_many,
    short,
    shown_groups,
)
from orchestrator.comparison.groups import Group, is_number, shown_value
from orchestrator.comparison.records import Run
from orchestrator.comparison.sensitivity import parameters_of
from orchestrator.comparison.statistics import Spread, spread

MOST_NAMES = 20
"""More classes are numbered."""
MOST_MARKS = 6
"""At a parameter's axis; with more values only its ends are marked."""


def bar_plot(comparison: Comparison, kind: Literal["per_class", "per_subset"]) -> Plot | None:
    """Bars of the student's accuracy on parts of the test images; None if the groups have not the same
    parts."""
    found: dict[str, list[Spread | None]] = {}
    for group in comparison.groups:
        parts = [_parts(run, kind) for run in group.runs]
        if group.runs and all(parts):
            found[group.label] = [
                spread([value for value in column if value is not None])
                for column in zip(*parts, strict=False)
            ]
    lengths = {len(one) for one in found.values()}
    if len(lengths) != 1 or max(lengths) == 0:
        return None
    names = _names(comparison, kind, lengths.pop())
    by_class = kind == "per_class"
    what = "class" if by_class else "classes that are frequent at each party"
    return Plot(
        name="per-class" if by_class else "per-subset",
        title=f"Test accuracy by {what}",
        caption=(
            "Student after the last epoch. Bar: mean over the seeds of a group; line: ± sample standard "
            "deviation. "
            + ("" if by_class else "Compare the paper's supplement, Figs. 2 and 3.")
            + of_how_many(comparison)
        ).strip(),
        header=["group", "class" if by_class else "subset", "mean", "sd", "n"],
        rows=[
            [label, name, *((None,) * 3 if one is None else (one.mean, one.deviation, one.count))]
            for label, parts in found.items()
            for name, one in zip(names, parts, strict=True)
        ],
        draw=lambda: _bars(comparison, found, names),
    )


def cost_plot(comparison: Comparison) -> Plot:
    """What is compared, against the seconds that a run took."""
    rows = [
        [group.label, run.seed, run.results.main_phase_seconds, comparison.score(run)]
        for group in comparison.groups
        for run in group.runs
    ]
    return Plot(
        name="time",
        title=f"{measured(comparison)} against time",
        caption=(
            "Dots: single runs, without pretraining and warm-up; squares: means of a group, with ± "
            "sample standard deviation both ways. Times compare only if the runs had the same machine to "
            "themselves." + of_how_many(comparison)
        ),
        header=["group", "seed", "seconds", comparison.measure],
        rows=rows,
        draw=lambda: _cost(comparison),
    )


def coordinates_plot(comparison: Comparison) -> Plot | None:
    """Every run as a line through its parameters, its time and its result; None without parameters."""
    parameters = parameters_of(comparison)
    if not parameters:
        return None
    runs = comparison.counted
    rows = [
        [
            *(run.config.get(key) for key in parameters),
            run.seed,
            run.results.main_phase_seconds,
            comparison.score(run),
        ]
        for run in runs
    ]
    return Plot(
        name="parallel-coordinates",
        title="All runs: parameters, time, result",
        caption=f"A line for each of {len(runs)} runs, coloured by the result; every axis has its own scale.",
        header=[*parameters, "seed", "seconds", comparison.measure],
        rows=rows,
        draw=lambda: _coordinates(comparison),
    )


def _parts(run: Run, kind: str) -> list[float | None]:
    student = run.results.student
    return list(getattr(student, kind) or [])


def _names(comparison: Comparison, kind: str, count: int) -> list[str]:
    if kind == "per_subset":
        return [f"party {party}" for party in range(count)]
    known = [list(run.classes) for run in comparison.counted if len(run.classes) == count]
    return known[0] if known else [str(index) for index in range(count)]


def _bars(comparison: Comparison, found: dict[str, list[Spread | None]], names: Sequence[str]) -> Any:
    figure, axes = new_figure()
    groups = [group for group in shown_groups(comparison) if group.label in found]
    width = 0.84 / len(groups)
    at = np.arange(len(names))
    for index, group in enumerate(groups):
        parts = found[group.label]
        means = [np.nan if one is None else one.mean for one in parts]
        bars = [np.nan if one is None or one.deviation is None else one.deviation for one in parts]
        places = at + (index - (len(groups) - 1) / 2) * width
        axes.bar(places, means, width, color=f"C{index % 10}", label=legend_label(group))
        axes.errorbar(places, means, bars, fmt="none", ecolor="gray", elinewidth=1, capsize=2)
    if len(names) <= MOST_NAMES:
        long = max(len(name) for name in names) * len(names) > 60
        axes.set_xticks(at, [short(name, 16) for name in names], rotation=45 if long else 0)
    else:
        axes.set_xlabel("class, by number")
    axes.set(ylabel="test accuracy in %", ylim=(0, 104))
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    legend_below(figure, axes)
    return figure


def _cost(comparison: Comparison) -> Any:
    figure, axes = new_figure()
    for index, group in enumerate(shown_groups(comparison)):
        colour = f"C{index % 10}"
        seconds = [run.results.main_phase_seconds for run in group.runs]
        scores = [comparison.score(run) for run in group.runs]
        axes.plot(seconds, scores, "o", color=colour, alpha=0.35, ms=4)
        _mean_mark(axes, group, spread(seconds), spread(scores), colour)
    axes.set(xlabel="seconds of the main phase", ylabel=measured(comparison))
    axes.grid(alpha=0.3)
    legend_below(figure, axes)
    return figure


def _mean_mark(axes: Any, group: Group, x: Spread | None, y: Spread | None, colour: str) -> None:
    assert x is not None and y is not None
    axes.errorbar(
        [x.mean],
        [y.mean],
        xerr=[x.deviation or 0.0],
        yerr=[y.deviation or 0.0],
        color=colour,
        fmt="s",
        ms=5,
        capsize=3,
        label=legend_label(group),
    )


def _coordinates(comparison: Comparison) -> Any:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    parameters, runs = parameters_of(comparison), comparison.counted
    columns: list[tuple[str, list[Any], bool, int]] = [
        (one.label, [_mark(run.config.get(key)) for run in runs], one.scale == "log", MOST_MARKS)
        for key, one in parameters.items()
    ]
    scores = [comparison.score(run) for run in runs]
    columns += [("seconds", [run.results.main_phase_seconds for run in runs], False, 2)]
    columns += [(f"{comparison.measure} in %", scores, False, 2)]
    figure, axes = new_figure()
    colours = Normalize(min(scores), max(scores))
    heights = []
    for place, (_, values, logarithmic, most) in enumerate(columns):
        scaled, marks = _scaled(values, logarithmic, most)
        heights.append(scaled)
        axes.axvline(place, color="gray", linewidth=1)
        for height, text in marks:
            axes.text(place - 0.03, height, text, fontsize="x-small", ha="right", va="center")
    for index, score in enumerate(scores):
        line = [column[index] for column in heights]
        axes.plot(range(len(columns)), line, color=colormaps["viridis"](colours(score)), alpha=0.8)
    axes.set_xticks(range(len(columns)), [short(name, 18) for name, *_ in columns])
    axes.set(xlim=(-0.45, len(columns) - 0.9), ylim=(-0.06, 1.06), yticks=[])
    axes.spines[:].set_visible(False)
    bar = ScalarMappable(colours, colormaps["viridis"])
    figure.colorbar(bar, ax=axes, label=measured(comparison))
    return figure


def _scaled(
    values: Sequence[Any], logarithmic: bool, most: int
) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights in [0, 1], and at most so many marks of the axis; what has no place of its own stands in
    equal distances."""
    distinct = list(dict.fromkeys(values))
    if not all(map(is_number, distinct)):
        raw = {value: float(index) for index, value in enumerate(distinct)}
    elif logarithmic and min(distinct) <= 0:  # Zero has no logarithm, but a place.
        raw = {value: float(index) for index, value in enumerate(sorted(distinct))}
    else:
        raw = {value: float(np.log(value)) if logarithmic else float(value) for value in distinct}
    low, high = min(raw.values()), max(raw.values())
    height = {value: (one - low) / (high - low) if high > low else 0.5 for value, one in raw.items()}
    ends = {min(raw, key=raw.__getitem__): None, max(raw, key=raw.__getitem__): None}
    marked = distinct if len(distinct) <= most else list(ends)
    return [height[value] for value in values], [(height[one], short(shown_value(one), 12)) for one in marked]


def _mark(value: Any) -> Any:
    return value if is_number(value) else shown_value(value)
