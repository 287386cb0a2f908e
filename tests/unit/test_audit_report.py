"""What `dfmf audit` says of given numbers."""

import io
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestrator.audit_report import membership_lines, membership_table, trigger_lines, trigger_table


def printed(table: Table) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(table)
    return out.getvalue()


def report(flagged: bool, classes: str = "abcde") -> dict[str, Any]:
    entry = {
        "name": "party-0",
        "index": 5.46 if flagged else 1.2,
        "suspicious_above": 2.58,
        "suspected_class": "b",
        "flagged_classes": ["b"] if flagged else [],
        "norms": dict(zip(classes, (9.0, 1.94, 8.0, 8.5, 9.5), strict=False)),
        "picture": "audit/party-0.png" if flagged else None,
    }
    return {"classifiers": [entry]}


def test_a_flagged_classifier_is_a_warning_with_numbers() -> None:
    (line,) = trigger_lines(report(flagged=True))
    assert line == (
        "warning: party-0: a change of 1.9 pixels sends images to class b, index 5.46 "
        "(above 2.58 is suspicious); see audit/party-0.png"
    )
    assert "9.0, 1.9, 8.0, 8.5, 9.5" in printed(trigger_table(report(flagged=True)))


def test_nothing_is_ever_called_clean() -> None:
    (line,) = trigger_lines(report(flagged=False))
    assert "no index above 2.58; that is no proof" in line
    assert "clean" not in line
    assert "tells nothing" in trigger_lines(report(flagged=False, classes="ab"))[1]


def test_rates_that_too_few_images_cannot_show_are_a_dash() -> None:
    found = {
        "members": 30,
        "others": 150,
        "auc": 0.97,
        "interval": [0.9, 1.0],
        "tpr": {"0.01": 0.5, "0.001": None},
    }
    entry = {"members": found, "canaries": None}
    membership = {"teachers": [{"name": "A", **entry}], "student": entry, "nearest_synthetic": entry}
    rows = [line.split() for line in printed(membership_table(membership)).splitlines() if "members," in line]
    assert rows[0] == [
        "loss",
        "of",
        "A",
        "30",
        "members,",
        "150",
        "0.970",
        "0.900",
        "to",
        "1.000",
        "50.0",
        "%",
        "-",
    ]
    assert len(rows) == 3
    assert "stricter test" in membership_lines(membership)[0]
    membership["student"] = {"members": found, "canaries": found}
    assert "no evidence of privacy" in membership_lines(membership)[0]
