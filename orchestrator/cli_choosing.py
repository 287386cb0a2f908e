"""The command that chooses among fusions."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli_parts import JsonFile, one_line_errors, write_numbers
from orchestrator.terminal import terminal


def choose(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="Finished runs, or sweeps.", show_default=False),
    ],
    by: Annotated[
        str | None,
        typer.Option(help="The criterion, such as own/agreement; by default the one that measured best."),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Choose the best of several fusions without labelled data.

    The students answer for synthetic images that they were not trained on. Where the runs have been measured
    on test images, it is shown how well each criterion would have chosen; the choice itself never sees that.
    """
    with one_line_errors():
        from orchestrator import choosing, choosing_report
        from orchestrator.finished_runs import find_runs
        from orchestrator.ranking import DEFAULT, check_criterion, judge

        by = by or DEFAULT
        check_criterion(by)
        console = terminal()
        runs = find_runs(folders)
        records = choosing.examine(runs, console.print)
        accuracies = choosing.true_accuracies(runs)
        judgement = None if accuracies is None else judge(records, accuracies)
        console.print(choosing_report.runs_table(records, by, accuracies))
        if judgement is not None:
            console.print(choosing_report.judgement_table(judgement))
        for line in choosing_report.lines(records, by, judgement):
            console.print(line, soft_wrap=True)
        if json_file is not None:
            write_numbers(json_file, choosing_report.as_json(records, by, accuracies, judgement))
