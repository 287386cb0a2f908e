"""Python, the libraries and the variables that change them; nothing heavy is imported to look at them."""

import os
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from orchestrator.checks.finding import Finding, one_line
from orchestrator.submitting import PACKAGES, ROOT

NEWEST_TESTED = (3, 13)
NAMED = ("torch", "ray", "mlflow")
REINSTALL = "install again: pip install --constraint constraints.txt --editable . (or: make demo)"


def python() -> Finding:
    """The interpreter against what the distribution requires."""
    from packaging.specifiers import SpecifierSet

    found = ".".join(str(part) for part in sys.version_info[:3])
    try:
        required = metadata("dfmf")["Requires-Python"]
    except PackageNotFoundError:
        required = ""
    newest = ".".join(str(part) for part in NEWEST_TESTED)
    if not SpecifierSet(required).contains(found):
        return Finding(
            "python", "problem", f"{found}, but dfmf needs {required}", f"use Python up to {newest}"
        )
    if sys.version_info[:2] > NEWEST_TESTED:
        says = f"{found} is newer than what dfmf is tested with ({newest})"
        return Finding("python", "warning", says, f"use Python {newest} if anything goes wrong")
    return Finding("python", "ok", found)


def packages() -> Finding:
    """Every library against the distribution's own requirements."""
    from packaging.requirements import Requirement

    try:
        required = [Requirement(line) for line in requires("dfmf") or []]
    except PackageNotFoundError:
        says = "dfmf itself is not installed, so nobody checked the versions of its libraries"
        return Finding("packages", "warning", says, REINSTALL)
    wrong, named, count = [], [], 0
    for one in required:
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            found = version(one.name)
        except PackageNotFoundError:
            wrong.append(f"{one.name} is missing")
            continue
        if not one.specifier.contains(found, prereleases=True):
            wrong.append(f"{one.name} is {found}, not {one.specifier}")
        if one.name in NAMED:
            named.append(f"{one.name} {found}")
    if wrong:
        return Finding("packages", "problem", "; ".join(wrong), REINSTALL)
    return Finding("packages", "ok", f"all {count} as required ({', '.join(named)})")


def imports() -> Finding:
    """Whether Ray's workers, which look into the current folder first, would import another dfmf than
    this."""
    here = Path.cwd()
    others = [name for name in PACKAGES if (here / name / "__init__.py").exists()]
    if others and here.resolve() != ROOT:
        return Finding(
            "imports",
            "problem",
            f"this is the dfmf in {ROOT}, but Ray's workers would import {', '.join(others)} from {here}",
            f"go to another folder, or run the one that is here: {sys.executable} -m orchestrator ...",
        )
    return Finding("imports", "ok", f"dfmf is imported from {ROOT}")


def variables() -> Finding:
    """Environment variables that switch a safeguard off."""
    name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    if os.environ.get(name, "0").lower() in ("1", "y", "yes", "true"):
        says = f"{name} is set: PyTorch executes what it finds in a file of weights"
        return Finding("variables", "problem", says, f"unset {name}")
    return Finding("variables", "ok", "none that switches a safeguard off")


def pictures() -> Finding:
    """Whether matplotlib draws without a display."""
    try:
        from orchestrator.plots import plot_accuracy

        with tempfile.TemporaryDirectory() as folder:
            plot_accuracy(Path(folder) / "accuracy.png", [90.0, 95.0], [("ensemble", 98.0)])
    except Exception as error:  # noqa: BLE001 - a bad variable breaks matplotlib's import in several ways
        says = one_line(f"matplotlib cannot draw: {error}")
        return Finding("pictures", "problem", says, "unset MPLBACKEND and MATPLOTLIBRC, or reinstall it")
    return Finding("pictures", "ok", "matplotlib draws without a display")
