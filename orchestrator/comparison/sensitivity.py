"""How the result depends on each parameter, whatever else was varied."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.comparison.compared import Comparison
from orchestrator.comparison.drawing import Plot, legend_below, measured, new_figure, short
from orchestrator.comparison.files import Parameter
from orchestrator.comparison.groups import is_number, short_names, shown_value
from orchestrator.comparison.records import Run
from orchestrator.comparison.statistics import Spread, spread

Values = tuple[Any, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """The results at the values of one parameter, everything that is not a parameter being equal."""

    label: str
    """What is equal, where that differs between curves."""
    points: Mapping[Any, Mapping[int, float]]
    """Percent by value and seed; where `means` is false the second key merely counts."""
    how: str
    """What was done about the other parameters, in a sentence."""
    means: bool
    """Whether runs at one value differ in nothing but the seed."""

    def spreads(self) -> dict[Any, Spread]:
        """Mean and deviation over the seeds, by value."""
        found = {value: spread(list(seeds.values())) for value, seeds in self.points.items()}
        return {value: one for value, one in found.items() if one is not None}


def parameters_of(comparison: Comparison) -> dict[str, Parameter]:
    """What was varied: the sweeps' parameters, else all numbers that differ between groups."""
    declared = {key: one for sweep in comparison.sweeps for key, one in sweep.parameters.items()}
    names = short_names(comparison.keys)
    found = declared or {
        key: Parameter(label=names[key]) for key in comparison.keys if _numeric(comparison, key)
    }
    return {key: one for key, one in found.items() if key in comparison.keys}


def base_of(comparison: Comparison) -> Mapping[str, Any]:
    """The configuration that others are variations of: the first sweep's, else the reference's."""
    bases = [sweep.base for sweep in comparison.sweeps if sweep.base is not None]
    return bases[0] if bases else comparison.reference.runs[0].config


def sensitivity_plots(comparison: Comparison) -> list[Plot]:
    """A figure for each parameter that has results at two values or more."""
    plots = []
    for key, parameter in parameters_of(comparison).items():
        found = [curve for curve in curves(comparison, key) if len(curve.points) > 1]
        # Any two runs differ in something; only what was varied alone tells something.
        if not comparison.sweeps:
            found = [curve for curve in found if curve.means]
        if found:
            plots.append(_plot(comparison, key, parameter, found))
    return plots


def curves(comparison: Comparison, key: str) -> list[Curve]:
    """One for each setting of what differs between groups and is no parameter."""
    others = [other for other in parameters_of(comparison) if other != key]
    fixed = [other for other in comparison.keys if other != key and other not in others]
    names = short_names(comparison.keys)
    settings: dict[Values, list[Run]] = {}
    for run in comparison.counted:
        settings.setdefault(_values(run.config, fixed), []).append(run)
    found = []
    for values, runs in settings.items():
        label = ", ".join(
            f"{names[other]}={shown_value(value)}" for other, value in zip(fixed, values, strict=True)
        )
        found.append(_curve(comparison, key, others, runs, label))
    return found


def _curve(comparison: Comparison, key: str, others: Sequence[str], runs: Sequence[Run], label: str) -> Curve:
    table: dict[Any, dict[Values, dict[int, float]]] = {}
    for run in runs:
        at = table.setdefault(_value(run.config, key), {}).setdefault(_values(run.config, others), {})
        at[run.seed] = comparison.score(run)
    every = list(dict.fromkeys(rest for at in table.values() for rest in at))
    order = {value: table[value] for value in (sorted(table) if all(map(is_number, table)) else table)}
    names = short_names(comparison.keys)
    grid = _grid(order, every)
    if grid is not None:
        told = ", ".join(names[other] for other in others)
        how = f"Averaged over {told} within each seed (a full grid)." if len(every) > 1 else ""
        return Curve(label=label, points=grid, how=how, means=True)
    shared = [rest for rest in every if _count(rest, table) > 1]
    if shared:
        base = _values(base_of(comparison), others)
        held = base if base in shared else max(shared, key=lambda rest: _count(rest, table))
        told = ", ".join(f"{names[other]}={shown_value(v)}" for other, v in zip(others, held, strict=True))
        points = {value: at[held] for value, at in order.items() if held in at}
        return Curve(label=label, points=points, how=f"Only runs with {told}.", means=True)
    scattered = {
        value: dict(enumerate(one for seeds in at.values() for one in seeds.values()))
        for value, at in order.items()
    }
    how = "Other parameters vary from dot to dot, so there is no mean."
    return Curve(label=label, points=scattered, how=how, means=False)


def _grid(
    table: Mapping[Any, Mapping[Values, Mapping[int, float]]], every: Sequence[Values]
) -> dict[Any, dict[int, float]] | None:
    """Means over all other values, for seeds that have them all; None if some value has no such seed."""
    result: dict[Any, dict[int, float]] = {}
    for value, at in table.items():
        if len(at) < len(every):
            return None
        seeds = set.intersection(*(set(one) for one in at.values()))
        if not seeds:
            return None
        result[value] = {seed: sum(one[seed] for one in at.values()) / len(every) for seed in sorted(seeds)}
    return result


def _count(rest: Values, table: Mapping[Any, Mapping[Values, Mapping[int, float]]]) -> int:
    return sum(rest in at for at in table.values())


def _plot(comparison: Comparison, key: str, parameter: Parameter, found: Sequence[Curve]) -> Plot:
    base = _value(base_of(comparison), key)
    header = ["curve", key, "seed", comparison.measure, "mean", "sd", "n"]
    rows = []
    for curve in found:
        spreads = curve.spreads()
        for value, seeds in curve.points.items():
            one = spreads[value] if curve.means else None
            summary = [None] * 3 if one is None else [one.mean, one.deviation, one.count]
            shown = value if is_number(value) else shown_value(value)
            rows += [
                [curve.label, shown, seed if curve.means else None, score, *summary]
                for seed, score in seeds.items()
            ]
    counts = sorted({len(seeds) for curve in found for seeds in curve.points.values()})
    over = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    marks = f"Dots: single seeds; line and bars: mean ± sample standard deviation over {over} seeds. "
    how = " ".join(dict.fromkeys(curve.how for curve in found if curve.how))
    return Plot(
        name="sensitivity-" + re.sub(r"[^\w.-]", "-", key),
        title=f"{measured(comparison)} against {parameter.label}",
        caption=((marks if any(curve.means for curve in found) else "Dots: single runs. ") + how).strip(),
        header=header,
        rows=rows,
        draw=lambda: _draw(comparison, parameter, found, base),
    )


def _draw(comparison: Comparison, parameter: Parameter, found: Sequence[Curve], base: Any) -> Any:
    figure, axes = new_figure()
    values = list(dict.fromkeys(value for curve in found for value in curve.points))
    numeric = all(map(is_number, values))
    place = {value: value if numeric else index for index, value in enumerate(values)}
    for index, curve in enumerate(found):
        colour = f"C{index % 10}"
        for value, seeds in curve.points.items():
            axes.plot([place[value]] * len(seeds), list(seeds.values()), "o", color=colour, mfc="none", ms=6)
        if curve.means:
            spreads = curve.spreads()
            places, means = [place[value] for value in spreads], [one.mean for one in spreads.values()]
            bars = [one.deviation or 0.0 for one in spreads.values()]
            name = short(curve.label) or "mean ± sd"
            axes.errorbar(places, means, bars, color=colour, marker="s", ms=5, capsize=4, label=name)
    if numeric and parameter.scale == "log":
        positive = [value for value in values if value > 0]
        if len(positive) == len(values):
            axes.set_xscale("log")
        else:  # Zero has its place too.
            axes.set_xscale("symlog", linthresh=min(positive, default=1))
    axes.set_xticks([place[value] for value in values], [short(shown_value(value), 14) for value in values])
    axes.minorticks_off()
    if base in place:
        label = f"base: {short(shown_value(base), 14)}"
        axes.axvline(place[base], linestyle=":", linewidth=1.2, color="gray", label=label)
    axes.set(xlabel=short(parameter.label), ylabel=measured(comparison))
    axes.grid(alpha=0.3)
    legend_below(figure, axes)
    return figure


def _numeric(comparison: Comparison, key: str) -> bool:
    return all(is_number(group.values[key]) for group in comparison.groups)


def _values(config: Mapping[str, Any], keys: Sequence[str]) -> Values:
    return tuple(_value(config, key) for key in keys)


def _value(config: Mapping[str, Any], key: str) -> Any:
    """That can be a key itself."""
    value = config.get(key)
    return shown_value(value) if isinstance(value, list) else value
