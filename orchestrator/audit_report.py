"""What `dfmf audit` prints: numbers and warnings, and never that a classifier is clean."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

LEAKAGE_LINES = (
    "distance to the nearest synthetic image is no evidence of privacy: it can look perfect (0.5) while "
    "canaries leak",
    "whoever fuses holds the teachers themselves, which give away more than the student",
    "nothing here is differentially private: not the teachers, not the synthetic images, not the student",
)


def trigger_table(report: Mapping[str, Any]) -> Table:
    """A row a classifier: its anomaly index, the class with the smallest trigger, that trigger's norm, and
    the median."""
    table = Table(box=box.SIMPLE_HEAD)
    for name, justify in (("classifier", "left"), ("index", "right"), ("class", "left"), ("norm", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("norms of all classes")
    for one in report["classifiers"]:
        norms = ", ".join(f"{norm:.1f}" for norm in one["norms"].values())
        smallest = f"{min(one['norms'].values()):.1f}"
        style = "bold" if one["flagged_classes"] else None
        table.add_row(
            one["name"], f"{one['index']:.2f}", one["suspected_class"], smallest, norms, style=style
        )
    return table


def trigger_lines(report: Mapping[str, Any]) -> list[str]:
    """A warning for each flagged classifier, or what it means that there is none."""
    lines = [
        f"warning: {one['name']}: a change of {min(one['norms'].values()):.1f} pixels sends images to class "
        f"{one['suspected_class']}, index {one['index']:.2f} (above {one['suspicious_above']:g} is "
        f"suspicious); see {one['picture']}"
        for one in report["classifiers"]
        if one["flagged_classes"]
    ]
    if not lines:
        limits = " or ".join(dict.fromkeys(f"{one['suspicious_above']:g}" for one in report["classifiers"]))
        lines.append(
            f"no index above {limits}; that is no proof: a trigger of another kind, or a large one, is not "
            f"found this way"
        )
    if any(len(one["norms"]) == 2 for one in report["classifiers"]):
        lines.append("between two classes none can stand out from the median: this search tells nothing here")
    return lines


def membership_table(membership: Mapping[str, Any]) -> Table:
    """A row an attack: AUC with its 95 % interval and true-positive rates, for members and for canaries."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("by")
    table.add_column("told apart")
    for name in ("AUC", "95 %", "TPR@1%", "@0.1%"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [(f"loss of {one['name']}", one) for one in membership["teachers"]]
    rows.append(("loss of student", membership["student"]))
    rows.append(("distance", membership["nearest_synthetic"]))
    for label, entry in rows:
        for kind in ("members", "canaries"):
            found = entry[kind]
            if found is None:
                continue
            low, high = found["interval"]
            rates = ["-" if rate is None else f"{100 * rate:.1f} %" for rate in found["tpr"].values()]
            table.add_row(
                label if kind == "members" else "",
                f"{found['members']} {kind}, {found['others']}",
                f"{found['auc']:.3f}",
                f"{low:.3f} to {high:.3f}",
                *rates,
            )
    return table


def membership_lines(membership: Mapping[str, Any]) -> list[str]:
    """What the numbers do and do not say."""
    if membership["student"]["canaries"] is None:
        return [
            "without canaries only membership is measured; a run with pretrain.canaries=30 is the stricter "
            "test",
            *LEAKAGE_LINES,
        ]
    return list(LEAKAGE_LINES)
