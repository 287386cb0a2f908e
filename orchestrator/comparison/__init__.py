"""Comparing fusions after the fact: tables, figures and a report over runs, sweeps and experiments."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.comparison.collect import collect
from orchestrator.comparison.compared import Comparison, compare
from orchestrator.comparison.curves import accuracy_plot, adversarial_plot
from orchestrator.comparison.drawing import Plot, csv_text, write_figures
from orchestrator.comparison.page import page, write_page
from orchestrator.comparison.records import Run
from orchestrator.comparison.scores import bar_plot, coordinates_plot, cost_plot
from orchestrator.comparison.sensitivity import sensitivity_plots
from orchestrator.comparison.table import (
    as_json,
    comparison_table,
    headline,
    left_out_table,
    numbers,
    run_numbers,
)
from orchestrator.run_folder import check_target
from orchestrator.secrets import redact

__all__ = [
    "Comparison",
    "Run",
    "all_plots",
    "as_json",
    "collect",
    "compare",
    "comparison_table",
    "headline",
    "left_out_table",
    "write_all",
    "write_report",
]


def all_plots(comparison: Comparison) -> list[Plot]:
    """Every figure for which there are data."""
    found = [
        *sensitivity_plots(comparison),
        coordinates_plot(comparison),
        accuracy_plot(comparison),
        adversarial_plot(comparison),
        bar_plot(comparison, "per_subset"),
        bar_plot(comparison, "per_class"),
        cost_plot(comparison),
    ]
    return [plot for plot in found if plot is not None]


def write_all(comparison: Comparison, folder: Path) -> list[Path]:
    """Each figure as PNG, the numbers of each and of the tables as CSV; the files.

    Raises:
        UserError: the folder cannot be written to.
    """
    tables = {
        "table": csv_text(*numbers(comparison)),
        "runs": csv_text(*run_numbers(comparison)),
    }
    return write_figures(folder, all_plots(comparison), tables)


def write_report(
    targets: Sequence[str | Path], path: Path, reference: str | None = None, tracking_uri: str | None = None
) -> Comparison:
    """One self-contained HTML file about the runs of all targets; what it shows.

    Raises:
        UserError: as `collect` and `compare`; or the file cannot be written.
    """
    check_target(path, "--to: cannot write ")
    comparison = compare(collect(targets, tracking_uri), reference)
    options = {"--reference": reference, "--tracking-uri": redact(tracking_uri), "--to": str(path)}
    given = [part for name, value in options.items() if value is not None for part in (name, value)]
    command = ["dfmf", "report", *(redact(str(target)) for target in targets), *given]
    write_page(path, page(comparison, all_plots(comparison), command))
    return comparison
