"""The report: one HTML file that holds everything, needs nothing from anywhere, and runs no code."""

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from fusion.untrusted import one_line
from orchestrator.comparison.compared import Comparison
from orchestrator.comparison.drawing import Plot, csv_text, picture
from orchestrator.comparison.groups import shown_value
from orchestrator.comparison.records import Run
from orchestrator.comparison.table import headline, numbers, run_numbers, table_text
from orchestrator.environment import environment
from orchestrator.errors import UserError
from orchestrator.run_folder import write_text

TEMPLATE = "page.html.j2"
WHERE = ("name", "output", "seed", "tracking", "checkpoint")
"""Parts of a configuration that are the runs' own."""


def page(comparison: Comparison, plots: Sequence[Plot], command: Sequence[str]) -> str:
    """The whole page. Every text that comes from a file is escaped by the template."""
    from jinja2 import Environment, StrictUndefined

    text = (resources.files(__package__) / TEMPLATE).read_text(encoding="utf-8")
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(text)
    header, rows = table_text(comparison)
    return template.render(
        title=_title(comparison),
        headline=headline(comparison),
        comparison=comparison,
        header=header,
        rows=list(zip(comparison.rows, rows, strict=True)),
        figures=[_figure(plot) for plot in plots],
        downloads={"table.csv": _link(csv_text(*numbers(comparison)).encode(), "text/csv")}
        | {"runs.csv": _link(csv_text(*run_numbers(comparison)).encode(), "text/csv")},
        runs=_runs(comparison),
        settings=_settings(comparison),
        environments=_environments(comparison.counted),
        here=_lines(environment()),
        command=one_line(shlex.join(command)),
    )


def _title(comparison: Comparison) -> str:
    sweeps = ", ".join(sweep.name for sweep in comparison.sweeps)
    return f"Sweep {sweeps}" if sweeps else f"{len(comparison.counted)} fusions compared"


def _figure(plot: Plot) -> dict[str, str]:
    return {
        "title": plot.title[:1].upper() + plot.title[1:],
        "caption": plot.caption,
        "light": _link(picture(plot, "svg"), "image/svg+xml"),
        "dark": _link(picture(plot, "svg", dark=True), "image/svg+xml"),
        "csv": _link(csv_text(plot.header, plot.rows).encode(), "text/csv"),
        "file": f"{plot.name}.csv",
    }


def _link(content: bytes, kind: str) -> str:
    charset = ";charset=utf-8" if kind.startswith("text/") else ""
    return f"data:{kind}{charset};base64,{base64.b64encode(content).decode()}"


def _runs(comparison: Comparison) -> list[dict[str, str]]:
    header, rows = run_numbers(comparison)
    shown = []
    for row in rows:
        cells = {name: "-" if value is None else value for name, value in zip(header, row, strict=True)}
        score = cells[comparison.measure]
        seconds = cells["seconds"]
        shown.append(
            {name: str(cells[name]) for name in ("run", "origin", "group", "seed")}
            | {"status": cells["status"] + (f": {cells['reason']}" if cells["reason"] != "-" else "")}
            | {"score": score if score == "-" else f"{score:.2f}"}
            | {"seconds": seconds if seconds == "-" else f"{seconds:.1f}"}
        )
    return shown


def _settings(comparison: Comparison) -> list[tuple[str, str]]:
    """What all runs have in common, as overrides of the command line."""
    first, *others = comparison.counted
    return [
        (key, shown_value(value))
        for key, value in first.config.items()
        if key.partition(".")[0] not in WHERE and all(one.config.get(key) == value for one in others)
    ]


def _environments(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """What the runs were made with: each different one once, with how many runs have it."""
    found: dict[str, int] = {}
    for run in runs:
        text = json.dumps(run.environment, sort_keys=True)
        found[text] = found.get(text, 0) + 1
    return [(f"{count} of {len(runs)} runs", _lines(json.loads(text))) for text, count in found.items()]


def _lines(environment_of: Mapping[str, Any]) -> list[str]:
    packages = environment_of.get("packages")
    versions = packages if isinstance(packages, Mapping) else {}
    lines = [f"{name} {value}" for name, value in environment_of.items() if name != "packages"]
    lines += [f"{name} {value}" for name, value in versions.items()]
    return [one_line(line) for line in lines] or ["nothing is known"]


def write_page(path: Path, text: str) -> None:
    """The page, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(f"--to: cannot write {path}: {error.strerror}") from error
