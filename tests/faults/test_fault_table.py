"""Faults of the fault table that no other test does: of a node, of the head, of a machine's memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cluster import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.parametrize(
    "fault",
    [
        "object store full, spilling",
        "killed by Ray's memory monitor",
        "node killed without notice",
        "head's GCS killed",
    ],
)
def test_a_run_ends_with_the_bits_of_one_that_nothing_befell(fault: str, tmp_path: Path) -> None:
    found = tmp_path / "faults.json"
    command = [sys.executable, "-m", "benchmarks.faults", "--only", fault, "--json", str(found)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    (row,) = json.loads(found.read_bytes())["faults"]
    assert (row["name"], row["ended"], row["bit_equal"], row["lost"]) == (fault, 1, True, 0), row["note"]
    assert done.returncode == 0, done.stderr
