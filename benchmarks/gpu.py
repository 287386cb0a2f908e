"""One iteration on a GPU, by ways of computing: PyTorch alone, no Ray.

    python -m benchmarks.gpu --network resnet18 --size 32 --batch 256 --parties 2 --json gpu.json

The first row is the plain eager float32 loop with contiguous tensors and without TF32. Every other row
computes the same with one thing more. `of the ceiling` is the counted operations a second over those of a
bfloat16 matrix product, measured in the same run. The JSON's `costs`, of the fastest row, are what
`benchmarks.scaling --costs` takes. On a machine without a GPU it runs on the CPU, to be tried out.
"""

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.common import make_settings, make_teachers, parser, print_table, write_json
from benchmarks.parts import Part, parts_of
from fusion.compute import Compute
from fusion.seeding import random_stream
from orchestrator.costs import STORE_BYTES, count

ROWS: dict[str, tuple[Compute, bool]] = {
    "float32": (Compute(memory_format="contiguous"), False),
    "TF32": (Compute(memory_format="contiguous"), True),
    "TF32, channels last": (Compute(), True),
    "bfloat16, channels last": (Compute(precision="bfloat16"), True),
    "bfloat16, channels last, compiled": (Compute(precision="bfloat16", compile=True), True),
}


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--network", default="resnet18")
    options.add_argument("--size", type=int, default=32)
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--parties", type=int, default=2)
    options.add_argument("--seconds", type=float, default=2.0, help="of measuring each part")
    options.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    given = options.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    ceiling = matmul_ceiling(device, given.seconds)
    rows: list[dict[str, Any]] = []
    for name in given.rows:
        compute, tf32 = ROWS[name]
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        rows.append({"name": name, **measure(given, compute, device)})
        rows[-1]["ratio"] = rows[-1]["iterations_per_s"] / rows[0]["iterations_per_s"]
        rows[-1]["of_ceiling"] = rows[-1]["flops_per_s"] / ceiling
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
                row["peak_gib"],
            ]
            for row in rows
        ],
    )
    fastest = max(rows, key=lambda row: row["iterations_per_s"])
    write_json(given.json, {"rows": rows, "ceiling_flops": ceiling, "costs": fastest["costs"]})


def measure(given: Any, compute: Compute, device: torch.device) -> dict[str, Any]:
    """An iteration from its parts: K parties and the student one after the other on one device."""
    settings = make_settings(given.network, given.size, given.batch)
    settings = type(settings)(**(vars(settings) | {"compute": compute}))
    teachers = make_teachers(given.network, given.size, given.parties)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    parts = parts_of(teachers, settings, device)
    seconds = {part.name: part.times * seconds_of(part.work, device, given.seconds) for part in parts}
    flops = sum(_times(part, given.parties) * part.flops() for part in parts)
    own = sum(seconds[part.name] for part in parts[:3])
    total = given.parties * own + sum(seconds[part.name] for part in parts[3:])
    costs = count(settings, teachers[0].spec, [given.network] * given.parties)
    return {
        "iterations_per_s": 1 / total,
        "flops_per_s": flops / total,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan"),
        "seconds": seconds,
        "costs": {
            "party": seconds[parts[0].name] + seconds[parts[1].name],
            "images": seconds[parts[2].name] * given.parties,
            "label": seconds[parts[4].name] / given.parties,
            "student": seconds[parts[3].name] + seconds[parts[5].name],
            "image_way": costs.image_bytes / STORE_BYTES,
            "label_way": costs.label_bytes[0] / STORE_BYTES,
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
