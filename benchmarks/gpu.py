"""One iteration on a GPU, by ways of computing: PyTorch alone, no Ray.

    python -m benchmarks.gpu --network resnet18 --size 32 --batch 256 --parties 2 --json gpu.json

Needs this clone, torch, numpy and safetensors. Each row is what a run with those options of `compute` does;
the first is the plain eager float32 loop with contiguous tensors, every other one has a thing more. `of the
ceiling` is the counted operations a second over those of a bfloat16 matrix product, measured in the same run.
The JSON has that for each part too; its `costs`, of the fastest row, are what `benchmarks.scaling --costs`
takes. On a machine without a GPU it runs on the CPU, to be tried out.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.common import make_settings, make_teachers, parser, print_table, student_costs, write_json
from benchmarks.parts import Part, parts_of
from fusion.assembly import FusionSettings
from fusion.compute import Compute
from fusion.seeding import random_stream
from fusion.teachers import Teacher
from orchestrator.costs import STORE_BYTES, count

ROWS: dict[str, Compute] = {
    "float32": Compute(memory_format="contiguous", tf32=False),
    "as by default": Compute(),
    "TF32": Compute(memory_format="contiguous", tf32=True),
    "TF32, channels last": Compute(tf32=True),
    "bfloat16, channels last": Compute(precision="bfloat16", tf32=True),
    "bfloat16, channels last, compiled": Compute(precision="bfloat16", tf32=True, compile=True),
}


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--network", default="resnet18")
    options.add_argument("--size", type=int, default=32)
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--parties", type=int, default=2, help="at least 2")
    options.add_argument("--seconds", type=float, default=2.0, help="of measuring each part")
    options.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    given = options.parse_args()
    if given.parties < 2:
        options.error("--parties: at least 2, or what a teacher more costs the student is not known")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    ceiling = matmul_ceiling(device, given.seconds)
    teachers = make_teachers(given.network, given.size, given.parties)
    plain = parts_of(teachers, settings_of(given, Compute()), device)
    flops = {part.name: part.flops() for part in plain}  # The compiler's kernels cannot be counted.
    del plain
    rows: list[dict[str, Any]] = []
    for name in given.rows:
        rows.append({"name": name, **measure(given, teachers, ROWS[name], device, flops, ceiling)})
        rows[-1]["ratio"] = rows[-1]["iterations_per_s"] / rows[0]["iterations_per_s"]
    on = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{given.network}, {given.size} px, B = {given.batch}, K = {given.parties}, {on}")
    print(f"bfloat16 matrix product {ceiling / 1e12:.3g} TFLOP/s\n")
    print_table(
        ["way", "iterations/s", "ratio", "TFLOP/s", "of the ceiling", "peak GiB"],
        [
            [
                row["name"],
                row["iterations_per_s"],
                row["ratio"],
                row["flops_per_s"] / 1e12,
                f"{row['of_ceiling']:.0%}",
                "" if row["peak_gib"] is None else row["peak_gib"],
            ]
            for row in rows
        ],
    )
    fastest = max(rows, key=lambda row: row["iterations_per_s"])
    write_json(given.json, {"rows": rows, "ceiling_flops": ceiling, "costs": fastest["costs"]})


def settings_of(given: Any, compute: Compute) -> FusionSettings:
    """What is fused, computed so."""
    return dataclasses.replace(make_settings(given.network, given.size, given.batch), compute=compute)


def measure(
    given: Any,
    teachers: list[Teacher],
    compute: Compute,
    device: torch.device,
    flops: dict[str, int],
    ceiling: float,
) -> dict[str, Any]:
    """An iteration from its parts: K parties and the student one after the other on one device. `flops` are
    counted for one call of each part."""
    settings, parties = settings_of(given, compute), given.parties
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    parts = parts_of(teachers, settings, device)
    calls = {part.name: seconds_of(part.work, device, given.seconds) for part in parts}
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    took = [part.times * calls[part.name] for part in parts]
    total = parties * sum(took[:3]) + sum(took[3:])
    rate = sum(_times(part, parties) * flops[part.name] for part in parts) / total
    lesson = parts_of(teachers[:1], settings, device)[-1]
    one = lesson.times * seconds_of(lesson.work, device, given.seconds)
    costs = count(settings, teachers[0].spec, [given.network] * parties)
    return {
        "iterations_per_s": 1 / total,
        "flops_per_s": rate,
        "of_ceiling": rate / ceiling,
        "peak_gib": peak,
        "seconds": {part.name: seconds for part, seconds in zip(parts, took, strict=True)},
        "parts": {
            name: {
                "flops_per_s": flops[name] / seconds,
                "of_ceiling": flops[name] / seconds / ceiling,
            }
            for name, seconds in calls.items()
        },
        "costs": {
            "party": took[0] + took[1],
            "images": took[2] * parties,
            "label": took[4] / parties,
            **student_costs(took[3], one, took[5], parties),
            "image_way": costs.image_bytes / STORE_BYTES,
            "label_way": costs.label_bytes[0] / STORE_BYTES,
            "batch": float(given.batch),
        },
    }


def seconds_of(work: Callable[[], object], device: torch.device, least: float) -> float:
    """Wall-clock seconds of one call; three calls go ahead for compilers and autotuners."""
    for _ in range(3):
        work()
    _wait(device)
    calls, started = 0, time.perf_counter()
    while True:
        work()
        calls += 1
        if calls % 5 == 0:
            _wait(device)
            if time.perf_counter() - started > least:
                return (time.perf_counter() - started) / calls


def matmul_ceiling(device: torch.device, least: float) -> float:
    """Operations a second of a bfloat16 matrix product."""
    size = 8192 if device.type == "cuda" else 512
    stream = random_stream(device, 0, "matmul")
    one = torch.randn(size, size, generator=stream, device=device).to(torch.bfloat16)
    return 2 * size**3 / seconds_of(lambda: one @ one, device, least)


def _times(part: Part, parties: int) -> int:
    shared = part.name.startswith(("augmentation", "labels", "student"))
    return part.times * (1 if shared else parties)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
