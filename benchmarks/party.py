"""The parts of an iteration: their time, and how near they come to what this machine can do.

    python -m benchmarks.party --network resnet18 --size 32 --batch 64

One thread. The ceilings are measured in the same run: a float32 matrix product or convolution, and a copy of
memory.
"""

import torch

from benchmarks.common import cpu_seconds, make_settings, make_teachers, parser, print_table, write_json
from benchmarks.parts import parts_of


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--network", default="resnet20")
    options.add_argument("--size", type=int, default=32)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--parties", type=int, default=2)
    given = options.parse_args()
    torch.set_num_threads(1)
    matmul, convolution, copy = ceilings()
    ceiling = max(matmul, convolution)
    settings = make_settings(given.network, given.size, given.batch)
    teachers = make_teachers(given.network, given.size, given.parties)
    rows = []
    for part in parts_of(teachers, settings, torch.device("cpu")):
        seconds, flops = cpu_seconds(part.work), part.flops()
        rows.append(
            {
                "part": part.name,
                "times": part.times,
                "ms": 1e3 * seconds,
                "images_per_s": part.images / seconds,
                "gflop_per_image": flops / part.images / 1e9,
                "gflops": flops / seconds / 1e9,
                "of_ceiling": flops / seconds / ceiling,
            }
        )
    print(f"{given.network}, {given.size} px, B = {given.batch}, K = {given.parties}, one thread")
    print(
        f"ceilings: matrix product {matmul / 1e9:.1f} GFLOP/s, convolution {convolution / 1e9:.1f} GFLOP/s, "
        f"copy {copy / 1e9:.1f} GB/s\n"
    )
    head = ["part", "times an iteration", "ms", "images/s", "GFLOP an image", "GFLOP/s", "of the ceiling"]
    print_table(head, [[*list(row.values())[:-1], f"{row['of_ceiling']:.0%}"] for row in rows])
    own = sum(row["times"] * row["ms"] for row in rows[:3])
    student = sum(row["times"] * row["ms"] for row in rows[3:])
    print(f"\nan iteration: {own:.0f} ms a party, {student:.0f} ms for the student")
    write_json(
        given.json,
        {
            "network": given.network,
            "matmul_flops": matmul,
            "convolution_flops": convolution,
            "copy_bytes": copy,
            "parts": rows,
            "party_ms": own,
            "student_ms": student,
        },
    )


def ceilings() -> tuple[float, float, float]:
    """Operations a second of a float32 matrix product and of a large 3x3 convolution (a library may do either
    better), and bytes a second of a copy (read and written)."""
    one = torch.rand(1536, 1536)
    matmul = 2 * len(one) ** 3 / cpu_seconds(lambda: one @ one)
    layer = torch.nn.Conv2d(256, 256, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    layer.requires_grad_(False)
    images = torch.rand(32, 256, 16, 16).contiguous(memory_format=torch.channels_last)
    operations = 2 * 9 * 256 * images.numel()
    block = torch.rand(2**25)
    target = torch.empty_like(block)
    copy = 2 * 4 * len(block) / cpu_seconds(lambda: target.copy_(block))
    return matmul, operations / cpu_seconds(lambda: layer(images)), copy


if __name__ == "__main__":
    main()
