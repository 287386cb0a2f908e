"""A table as Markdown for people and as CSV for programs, the measured beside the published."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.comparison.drawing import csv_text
from orchestrator.comparison.statistics import Spread
from orchestrator.config import RunConfig
from orchestrator.reproducing.layout import Numbers
from orchestrator.reproducing.results import REFERENCES, Cell, Filled
from orchestrator.reproducing.tables import TITLES
from orchestrator.secrets import redact

DASH = "-"
CSV_HEADER = (
    *("part", "row", "column", "accuracy_mean", "accuracy_sd", "seeds", "by_seed", "seconds_mean"),
    *("published", "published_on", "failed", "distance_mean", "distance_sd", "distance_published"),
)


def markdown(
    title: str,
    parts: Sequence[Filled],
    configs: Mapping[str, RunConfig],
    seeds: Sequence[int],
    command: Sequence[str],
) -> str:
    """The whole page, without the command's secrets; `configs` by the name of a part."""
    lines = [
        f"# {title}",
        "",
        "Test accuracy of the last epoch's student in percent, mean ± sample standard deviation over the "
        f"seeds {', '.join(map(str, seeds))} (a number in brackets: over so many of them); seconds: mean of "
        "a run, with what it did not find in the cache. *Published* are the paper's own numbers, of its own "
        "data, networks and schedule; where these differ from the ones named, the two columns do not have to "
        "agree.",
        "",
        f"    {shlex.join(redact(one) for one in command)}",
    ]
    for one in parts:
        lines += ["", *_part(one, configs[one.part.name], len(seeds))]
    return "\n".join(lines) + "\n"


def csv(parts: Sequence[Filled]) -> str:
    """A line for each measured or published cell; with all digits."""
    rows: list[list[Any]] = []
    for one in parts:
        for row in one.rows:
            for column in one.columns:
                rows += _csv_lines(one, row, column)
    return csv_text(CSV_HEADER, rows)


def _part(one: Filled, config: RunConfig, seeds: int) -> list[str]:
    lines = [f"## {one.part.name}", "", settings(config), ""]
    if one.part.differs:
        lines += [f"Not as in the paper: {one.part.differs}.", ""]
    if one.part.note:
        lines += [f"{one.part.note}.", ""]
    head = ["", *(text for column in one.columns for text in (column, f"published ({one.part.source})", "s"))]
    lines += [_line(head), _line(["---"] * len(head))]
    for row in one.rows:
        texts = [TITLES.get(row, row)]
        for column in one.columns:
            cell = one.cells.get((row, column))
            texts += [_shown(cell, seeds), one.part.published.get((row, column), DASH), _seconds(cell)]
        lines.append(_line(texts))
        if one.part.distances is not None and row not in REFERENCES:
            lines.append(_line(_distances(one, row, one.part.distances, seeds)))
    lines += [
        "",
        f"{one.seconds:.0f} s of runs in all, on {' and on '.join(one.hardware) or 'nothing yet'}.",
        f"A run again alone: `dfmf fuse {one.part.name}/trials/ROW_COLUMN_seed-SEED/config.yaml name=again`.",
    ]
    failed = [
        f"* {TITLES.get(cell.row, cell.row)}, {cell.column}, {why}"
        for cell in one.cells.values()
        for why in cell.failed
    ]
    if failed:
        lines += ["", "Failed:", "", *failed]
    if one.unfinished > len(failed):
        lines += ["", f"Runs still to do: {one.unfinished - len(failed)}; the command above goes on."]
    return lines


def settings(config: RunConfig) -> str:
    """What the runs of a part have in common, in a sentence."""
    assert config.data is not None
    assert config.pretrain is not None
    schedule, recipe = config.schedule, config.pretrain.recipe
    return (
        f"Data {config.data.source}; {_teachers(config.num_parties)} "
        f"({', '.join(config.pretrain.networks)}) of {recipe.epochs} epochs, student {config.student}; "
        f"N_warm-up = {schedule.warmup_epochs}, "
        f"N = {schedule.epochs}, M = {schedule.iterations_per_epoch}, M_GA = {schedule.m_ga}, "
        f"M_S = {schedule.m_s}, B = {schedule.batch_size}."
    )


def _teachers(count: int) -> str:
    return "1 teacher" if count == 1 else f"{count} teachers"


def _csv_lines(one: Filled, row: str, column: str) -> list[list[Any]]:
    cell = one.cells.get((row, column))
    printed = one.part.published.get((row, column))
    if cell is None and printed is None:
        return []
    far, printed_far = cell and cell.distance, (one.part.distances or {}).get((row, column))
    spreads: Sequence[Spread | None] = cell.spreads if cell and cell.spreads else [None]
    lines = []
    for index, spread in enumerate(spreads):
        name = row if len(spreads) == 1 else f"{row}_{index}"
        by_seed = {seed: values[index] for seed, values in cell.by_seed.items()} if cell and spread else {}
        numbers = [spread.mean, spread.deviation, spread.count] if spread else [None, None, 0]
        lines.append(
            [
                *(one.part.name, name, column, *numbers),
                " ".join(f"{seed}:{value:g}" for seed, value in by_seed.items()),
                *(cell.seconds if cell else None, printed, one.part.source if printed else None),
                "; ".join(cell.failed) if cell and cell.failed else None,
                *((far.mean, far.deviation) if far else (None, None)),
                printed_far,
            ]
        )
    return lines


def _distances(one: Filled, row: str, printed: Numbers, seeds: int) -> list[str]:
    texts = [f"{TITLES.get(row, row)}: feature distance"]
    for column in one.columns:
        cell = one.cells.get((row, column))
        far = cell.distance if cell else None
        texts += [_numbers([far], seeds) if far else DASH, printed.get((row, column), DASH), DASH]
    return texts


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _shown(cell: Cell | None, seeds: int) -> str:
    if cell is None or not cell.spreads:
        return "failed" if cell is not None and cell.failed else DASH
    return _numbers(cell.spreads, seeds)


def _numbers(spreads: Sequence[Spread], seeds: int) -> str:
    """With how many they are over, where that is not all `seeds`."""
    text, count = " / ".join(map(_number, spreads)), spreads[0].count
    return f"{text} ({count})" if count < seeds else text


def _number(one: Spread) -> str:
    return f"{one.mean:.2f}" + (f" ± {one.deviation:.2f}" if one.deviation is not None else "")


def _seconds(cell: Cell | None) -> str:
    return DASH if cell is None or cell.seconds is None else f"{cell.seconds:.0f}"
