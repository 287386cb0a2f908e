"""A fusion over seeds, and over variants of it: mean and sample standard deviation of every accuracy.

    python -m benchmarks.seeds digits --seeds 0 1 2 --set schedule.epochs=8 --variant method.critic_mode=eval

Each run is a process of its own (`dfmf fuse`) in its own folder; what has finished is not run again.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fusion.evaluation import sample_standard_deviation

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
        found = [_numbers(summary) for (of, _), summary in zip(jobs, summaries, strict=True) if of == variant]
        rows.append(
            {
                "variant": variant or "as is",
                "values": {name: [one[name] for one in found] for name in COLUMNS},
            }
        )
        print(
            f"| {rows[-1]['variant']} | "
            + " | ".join(_cell(rows[-1]["values"][name]) for name in COLUMNS)
            + " |"
        )
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"run": arguments.run, "seeds": arguments.seeds, "rows": rows}, indent=2)
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


def _run(arguments: argparse.Namespace, variant: str, seed: int) -> dict[str, Any]:
    changes = [*arguments.set, *filter(None, variant.split(","))]
    label = "-".join([Path(arguments.run).stem, *changes, f"seed{seed}"])
    name = "".join(one if one.isalnum() or one in "._-" else "-" for one in label)[-64:].lstrip("._-")
    summary = arguments.output / name / "summary.json"
    if not summary.exists():
        command = [sys.executable, "-m", "orchestrator", "fuse", arguments.run, *changes, f"seed={seed}"]
        command += [f"name={name}", f"output={arguments.output}", "tracking.enabled=false"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{name}: {done.stderr}")
        print(f"{name} done", file=sys.stderr)
    loaded: dict[str, Any] = json.loads(summary.read_text())
    return loaded


def _numbers(summary: dict[str, Any]) -> dict[str, float]:
    teachers = sorted((one["accuracy"] for one in summary["teachers"]), reverse=True)
    return {
        "best teacher": teachers[0],
        "other teachers": sum(teachers[1:]) / max(len(teachers) - 1, 1),
        "ensemble": summary["ensemble"]["accuracy"],
        "student": summary["student"]["accuracy"],
        "gold standard": summary.get("gold_standard", {}).get("accuracy", float("nan")),
        "gap closed": summary["gap_closed"],
        "seconds": summary["seconds"],
    }


def _cell(values: list[float]) -> str:
    return f"{sum(values) / len(values):.2f} ± {sample_standard_deviation(values):.2f}"


if __name__ == "__main__":
    main()
