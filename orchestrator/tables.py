"""Tables for the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from orchestrator.results import table_rows


def result_table(summary: Mapping[str, Any]) -> Table:
    """Each teacher, their ensemble, the student, the gold standard."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("classifier")
    table.add_column("network")
    table.add_column("accuracy %", justify="right")
    table.add_column("MMAC an image", justify="right")
    for label, network, entry in table_rows(summary):
        style = "bold" if label == "fused student" else None
        macs = f"{entry['macs'] / 1e6:.2f}" if entry.get("macs") else ""
        table.add_row(label, network, shown(entry["accuracy"]), macs, style=style)
    return table


def result_lines(summary: Mapping[str, Any], folder: Path | None) -> list[str]:
    """What stands under the table."""
    lines = []
    closed = summary.get("gap_closed")
    if closed is not None and closed >= 0:
        lines.append(
            f"the student closes {closed:.0f} % of the gap between the best teacher and the ensemble"
        )
    elif closed is not None:
        lines.append("the student is below the best teacher; more epochs or a longer warm-up may help")
    student = summary.get("student")
    if student and student.get("agreement") is not None:
        lines.append(
            f"it agrees with the ensemble on {student['agreement']:.1f} % of {student['agreement_on']}"
        )
    if folder is not None:
        lines.append(f"{summary['seconds']:.0f} s, results in {folder}")
    return lines


def class_table(scores: Mapping[str, Any]) -> Table:
    """Accuracy per class of everything in `scores`."""
    columns = [(one["name"], one) for one in scores.get("teachers", [])]  # One may be called "student".
    columns += [("ensemble", scores["ensemble"])] if "ensemble" in scores else []
    columns.append(("student" if "teachers" in scores else "accuracy %", scores["student"]))
    if "gold_standard" in scores:
        columns.append(("gold standard", scores["gold_standard"]))
    entries = [entry for _, entry in columns]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("class")
    for name, _ in columns:
        table.add_column(name, justify="right")
    for index, label in enumerate(scores["classes"]):
        table.add_row(label, *(shown(entry["per_class"][index]) for entry in entries))
    if "teachers" in scores:
        for party in range(len(scores["teachers"])):
            table.add_row(f"block {party}", *(shown(entry["per_subset"][party]) for entry in entries))
    return table


def shown(value: float | None) -> str:
    """A percentage, or a dash."""
    return "-" if value is None else f"{value:.2f}"
