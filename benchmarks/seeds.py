"""A fusion over seeds, and over variants of it: mean and sample standard deviation of every accuracy.

    python -m benchmarks.seeds digits --seeds 0 1 2 --set schedule.epochs=8 --variant method.critic_mode=eval

Each run is a process of its own (`dfmf fuse`) in its own folder; what has finished is not run again, and what
was stopped goes on. A number in brackets: over so many of the seeds, the others have none.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from orchestrator.comparison.statistics import spread
from orchestrator.comparison.table import spread_text
from orchestrator.run_folder import finished_summary

LARGEST_NAME = 64
COLUMNS = ("best teacher", "other teachers", "ensemble", "student", "gold standard", "gap closed", "seconds")


def main() -> None:
    """Run what is missing and print one row a variant."""
    arguments = _arguments()
    variants = ["", *arguments.variant]
    jobs = [(variant, seed) for variant in variants for seed in arguments.seeds]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        summaries = list(pool.map(lambda job: _run(arguments, *job), jobs))
    print(f"{arguments.run} {' '.join(arguments.set)}, seeds {' '.join(map(str, arguments.seeds))}\n")
    print("| variant | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    rows = []
    for variant in variants:
        found = [numbers(summary) for (of, _), summary in zip(jobs, summaries, strict=True) if of == variant]
        rows.append(
            {
                "variant": variant or "as is",
                "values": {name: [one[name] for one in found] for name in COLUMNS},
            }
        )
        print(
            f"| {rows[-1]['variant']} | "
            + " | ".join(cell(rows[-1]["values"][name]) for name in COLUMNS)
            + " |"
        )
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                {"run": arguments.run, "seeds": arguments.seeds, "rows": rows}, indent=2, allow_nan=False
            )
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a YAML file or a preset")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes to all runs")
    parser.add_argument(
        "--variant", action="append", default=[], metavar="KEY=VALUE[,KEY=VALUE]", help="one more row"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--output", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def run_name(run: str, changes: Sequence[str], seed: int) -> str:
    """Of a run's folder: readable, and another one for other changes."""
    rest = [*changes, f"seed{seed}"]
    words = "-".join([run, *rest])
    name = re.sub(r"[^A-Za-z0-9._-]", "-", "-".join([Path(run).stem, *rest])).lstrip("._-")
    if name == words and len(name) <= LARGEST_NAME:
        return name
    # What was cut off or replaced may be what tells it from another.
    return f"{name[: LARGEST_NAME - 9]}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def _run(arguments: argparse.Namespace, variant: str, seed: int) -> dict[str, Any]:
    changes = [*arguments.set, *filter(None, variant.split(","))]
    name = run_name(arguments.run, changes, seed)
    folder = arguments.output / name
    if (finished := finished_summary(folder)) is not None:
        return finished
    command = [sys.executable, "-m", "orchestrator", "fuse", arguments.run, *changes, f"seed={seed}"]
    command += [f"name={name}", f"output={arguments.output}", "tracking.enabled=false"]
    command += ["--resume", str(folder)] if (folder / "config.yaml").exists() else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    summary = finished_summary(folder)
    if done.returncode or summary is None:
        sys.exit(f"{name}: {done.stderr}")
    print(f"{name} done", file=sys.stderr)
    return summary


def numbers(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """By column; None for what the run has none of."""
    known = [one["accuracy"] for one in summary["teachers"] if one["accuracy"] is not None]
    teachers = sorted(known, reverse=True)
    return {
        "best teacher": teachers[0] if teachers else None,
        "other teachers": sum(teachers[1:]) / len(teachers[1:]) if teachers[1:] else None,
        "ensemble": summary["ensemble"]["accuracy"],
        "student": summary["student"]["accuracy"],
        "gold standard": summary.get("gold_standard", {}).get("accuracy"),
        "gap closed": summary["gap_closed"],
        "seconds": summary["seconds"],
    }


def cell(values: Sequence[float | None]) -> str:
    """Mean and deviation of those that there are; a dash where there is none."""
    known = [one for one in values if one is not None]
    text = spread_text(spread(known), 2)
    return f"{text} ({len(known)})" if 0 < len(known) < len(values) else text


if __name__ == "__main__":
    main()
