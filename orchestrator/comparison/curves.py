"""What happened over the epochs: accuracy (supplement, Fig. 1) and the adversarial losses (Fig. 4)."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.comparison.compared import Comparison
from orchestrator.comparison.drawing import (
    Plot,
    legend_below,
    legend_label,
    new_figure,
    of_how_many,
    shown_groups,
)
from orchestrator.comparison.groups import Group
from orchestrator.comparison.records import Run
from orchestrator.comparison.statistics import Spread, spread

ACCURACY = "eval/accuracy"
PAIRS = {"teacher-GA": "generator", "teacher-student": "student"}
"""Who disagrees, and under which role the run logs it."""
Curve = Mapping[int, Spread]
"""By epoch, over the seeds."""


def accuracy_plot(comparison: Comparison) -> Plot | None:
    """The student's accuracy over the epochs, a line a group; None if no run has measured it."""
    found = _over_seeds(comparison, lambda metrics: metrics.get(ACCURACY))
    if not found:
        return None
    return Plot(
        name="accuracy-over-epochs",
        title="Test accuracy over epochs",
        caption=(
            "Line: mean over the seeds of a group; band: ± sample standard deviation (from two seeds on). "
            "Compare the paper's supplement, Fig. 1." + of_how_many(comparison)
        ),
        header=["group", "epoch", "mean", "sd", "n"],
        rows=_rows(found),
        draw=lambda: _draw(comparison, [("", found)], "test accuracy in %"),
    )


def adversarial_plot(comparison: Comparison) -> Plot | None:
    """The ADV loss between teacher and GA beside that between teacher and student, mean over the parties."""
    panels = [
        (title, found)
        for title, role in PAIRS.items()
        if (found := _over_seeds(comparison, functools.partial(_mean_adv, role)))
    ]
    if not panels:
        return None
    return Plot(
        name="adversarial-loss",
        title="ADV loss over epochs",
        caption=(
            "Eq. (5), unweighted: on the left between each teacher and its generator's critic (of DFMF its "
            "assistant), which trains the generators; on the right between each teacher and the student. "
            "Mean over the parties; line: mean over the seeds; band: ± their sample standard deviation. "
            "Compare the paper's Fig. 4." + of_how_many(comparison)
        ),
        header=["between", "group", "epoch", "mean", "sd", "n"],
        rows=[[title, *row] for title, found in panels for row in _rows(found)],
        draw=lambda: _draw(comparison, panels, "ADV loss (no unit)"),
    )


def _mean_adv(role: str, metrics: Mapping[str, float]) -> float | None:
    parties = [
        value
        for name, value in metrics.items()
        if name.startswith(f"{role}/") and name.endswith("/adv") and name.count("/") == 2
    ]
    return sum(parties) / len(parties) if parties else None


def _over_seeds(
    comparison: Comparison, take: Callable[[Mapping[str, float]], float | None]
) -> dict[str, Curve]:
    """By group's label; an epoch counts where all seeds of the group have it."""
    result: dict[str, Curve] = {}
    for group in comparison.groups:
        seeds = [_of_run(run, take) for run in group.runs]
        common = sorted(set.intersection(*map(set, seeds))) if seeds else []
        spreads = {epoch: spread([one[epoch] for one in seeds]) for epoch in common}
        curve = {epoch: one for epoch, one in spreads.items() if one is not None}
        if curve:
            result[group.label] = curve
    return result


def _of_run(run: Run, take: Callable[[Mapping[str, float]], float | None]) -> dict[int, float]:
    values = {one["epoch"]: take(one["metrics"]) for one in run.epochs if one["epoch"] > 0}
    return {epoch: value for epoch, value in values.items() if value is not None and math.isfinite(value)}


def _rows(found: Mapping[str, Curve]) -> list[list[Any]]:
    return [
        [label, epoch, one.mean, one.deviation, one.count]
        for label, curve in found.items()
        for epoch, one in curve.items()
    ]


def _draw(comparison: Comparison, panels: Sequence[tuple[str, Mapping[str, Curve]]], label: str) -> Any:
    figure, drawn = new_figure(len(panels))
    every = [drawn] if len(panels) == 1 else list(drawn)
    groups = shown_groups(comparison)
    for axes, (title, found) in zip(every, panels, strict=True):
        for index, group in enumerate(groups):
            if group.label in found:
                _line(axes, group, found[group.label], f"C{index % 10}")
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    every[0].set_ylabel(label)
    legend_below(figure, every[0])
    return figure


def _line(axes: Any, group: Group, curve: Curve, colour: str) -> None:
    epochs, means = list(curve), [one.mean for one in curve.values()]
    axes.plot(
        epochs, means, color=colour, marker="." if len(epochs) < 25 else None, label=legend_label(group)
    )
    deviations = [one.deviation for one in curve.values()]
    if None not in deviations:
        low = [mean - (one or 0.0) for mean, one in zip(means, deviations, strict=True)]
        high = [mean + (one or 0.0) for mean, one in zip(means, deviations, strict=True)]
        axes.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
