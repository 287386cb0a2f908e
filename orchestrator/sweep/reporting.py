"""What a person sees when a sweep is over: the table, and a page with the figures."""

from orchestrator.comparison import (
    collect,
    compare,
    comparison_table,
    headline,
    left_out_table,
    write_report,
)
from orchestrator.errors import UserError
from orchestrator.progress import Display
from orchestrator.sweep.board import Board
from orchestrator.sweep.study import Study

REPORT = "report.html"


def show(study: Study, board: Board, display: Display) -> None:
    """Print the comparison and write the report, if any trial was finished; what hinders that is said, and no
    error: the trials are what they are."""
    if not any(row["status"] == "finished" for row in board.all_rows):
        return
    try:
        _compare(study, display)
    except UserError as error:
        display.said(f"no report: {error}")


def _compare(study: Study, display: Display) -> None:
    comparison = compare(collect([study.folder]))
    display.console.print(comparison_table(comparison))
    display.said(headline(comparison))
    for note in comparison.notes:
        display.said(note)
    if comparison.left_out:
        display.console.print(left_out_table(comparison))
    if study.base["data"] is None:
        display.said(f"without test images these compare poorly; to choose: dfmf choose {study.folder}")
    write_report([study.folder], study.folder / REPORT)
    display.said(f"figures: {study.folder / REPORT}")
