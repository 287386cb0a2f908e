"""The commands that compare fusions with each other."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli_parts import JsonFile, one_line_errors, write_numbers
from orchestrator.terminal import terminal

Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="TARGET...",
        help="Folders of runs or sweeps, or mlflow:EXPERIMENT.",
        show_default=False,
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="LABEL",
        help="The group that the others are held against, such as m_ga=5; by default a sweep's own "
        "configuration, else the first.",
        show_default=False,
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option("--tracking-uri", help="MLflow's store; by default the one in runs.", show_default=False),
]


def compare(
    targets: Targets,
    reference: Reference = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", help="A folder for the figures (PNG) and their numbers (CSV).", show_default=False
        ),
    ] = None,
    tracking_uri: TrackingUri = None,
    json_file: JsonFile = None,
) -> None:
    """Compare fusions: a table over seeds, with paired differences to a reference."""
    with one_line_errors():
        from orchestrator import comparison

        compared = comparison.compare(comparison.collect(targets, tracking_uri), reference)
        console = terminal()
        console.print(comparison.comparison_table(compared))
        if compared.left_out:
            console.print(comparison.left_out_table(compared))
        for line in (comparison.headline(compared), *compared.notes):
            console.print(line, soft_wrap=True)
        if to is not None:
            files = comparison.write_all(compared, to)
            console.print(f"{len(files)} files in {to}", soft_wrap=True)
        if json_file is not None:
            write_numbers(json_file, comparison.as_json(compared))


def report(
    targets: Targets,
    to: Annotated[Path, typer.Option("--to", help="The file to write.")] = Path("report.html"),
    reference: Reference = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write a report on fusions: one HTML file that needs no network."""
    with one_line_errors():
        from orchestrator.comparison import write_report

        compared = write_report(targets, to, reference, tracking_uri)
        print(f"wrote {to}: {len(compared.counted)} runs in {len(compared.groups)} groups")
