"""What `dfmf choose` prints and writes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.ranking import Record, choose, mean_ranks, seed_ranks

SHOWN = ("agreement", "divergence")
"""In the table of runs; the JSON file has all."""
_SECTION = re.compile(r"(?<![^ ])[a-z_.]+\.(?=[a-z_]+=)")
"""What a key begins with, such as ``method.``."""


def runs_table(records: Sequence[Record], by: str, accuracies: Sequence[float] | None) -> Table:
    """A row a run, the best of each seed first: the criterion that decides and `SHOWN`, and the accuracy
    where it is known."""
    exam = by.partition("/")[0]
    names = list(dict.fromkeys([by, *(f"{exam}/{name}" for name in SHOWN)]))
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("run", "seed", "configuration", "rank"):
        if name in ("run", "configuration"):
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for name in [*names, *(["accuracy %"] if accuracies is not None else [])]:
        words = name.replace("/", " ").replace("_", " ").split()
        table.add_column("\n".join(words), justify="right", no_wrap=True)
    chosen, ranks = choose(records, by), seed_ranks(records, by)
    for index in sorted(range(len(records)), key=lambda index: (records[index].seed, ranks[index])):
        one = records[index]
        cells = [one.folder.name, str(one.seed), _SECTION.sub("", one.configuration)]
        cells += [f"{ranks[index]:.2f}", *(_number(one.criteria[name]) for name in names)]
        cells += [f"{accuracies[index]:.2f}"] if accuracies is not None else []
        table.add_row(*map(Text, cells), style="bold" if one.configuration == chosen else None)
    return table


def judgement_table(judgement: Mapping[str, Any]) -> Table:
    """A row a criterion: how well it ranked the runs, the best first."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("criterion")
    for name in ("Spearman", *(f"seed {seed}" for seed in _seeds(judgement)), "regret"):
        table.add_column(name, justify="right")
    rows = judgement["criteria"].items()
    for name, one in sorted(rows, key=lambda row: -2 if row[1]["spearman"] is None else -row[1]["spearman"]):
        correlations = [one["spearman"], *one["by_seed"].values()]
        words = ["-" if value is None else f"{value:.2f}" for value in correlations]
        table.add_row(name, *words, f"{one['regret']:.2f}")
    return table


def lines(records: Sequence[Record], by: str, judgement: Mapping[str, Any] | None) -> list[str]:
    """What is chosen, and what that choice is worth where accuracies are known."""
    chosen, ranks = choose(records, by), mean_ranks(records, by)
    found = [
        f"chosen by {by}: {chosen} (mean rank {ranks[chosen]:.2f}; 0 is the best in every seed, 1 the worst)"
    ]
    found += [str(one.folder) for one in records if one.configuration == chosen]
    if judgement is not None:
        regret = judgement["criteria"][by]["regret"]
        found.append(
            f"judged by accuracies that the choice has not seen: {judgement['runs']} runs, "
            f"{judgement['seeds']} seeds; it costs {regret:.2f} points against the best configuration "
            f"({judgement['best_accuracy']:.2f} %), a random one {judgement['regret_of_chance']:.2f}"
        )
    return found


def as_json(
    records: Sequence[Record],
    by: str,
    accuracies: Sequence[float] | None,
    judgement: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """All numbers."""
    known = accuracies if accuracies is not None else [None] * len(records)
    return {
        "by": by,
        "chosen": choose(records, by),
        "configurations": mean_ranks(records, by),
        "runs": [
            {
                "folder": str(one.folder),
                "seed": one.seed,
                "configuration": one.configuration,
                "rank": rank,
                "criteria": dict(one.criteria),
                "accuracy": accuracy,
            }
            for one, rank, accuracy in zip(records, seed_ranks(records, by), known, strict=True)
        ],
        "judgement": judgement,
    }


def _seeds(judgement: Mapping[str, Any]) -> list[str]:
    return list(next(iter(judgement["criteria"].values()))["by_seed"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
