"""The work of the public data-free distillation codes, done by ours: one teacher, one generator, 32x32
pixels.

    python -m benchmarks.peers

Images a second of process CPU time times two threads, the unit in which the others were measured on a 2-core
Xeon at 2.5 GHz, with a generator of the same size (157 million multiply-accumulates an image). A yardstick,
the convolutions of a ResNet-20 forward and backward in eager PyTorch, ran beside theirs (700-810 images/s)
and runs here, so the ratio is corrected for the machine.
"""

import dataclasses
import resource
import subprocess
import sys
from typing import Any

import torch
from torch import nn

from benchmarks.common import (
    cpu_seconds,
    image_spec,
    make_settings,
    make_teachers,
    parser,
    print_table,
    write_json,
)
from benchmarks.parts import parts_of
from fusion.generator import GeneratorSettings
from fusion.networks import build_network

THREADS = 2
THEIR_YARDSTICK = 755.0
PEERS: dict[tuple[str, int], dict[str, tuple[float, float]]] = {
    ("resnet20", 256): {
        "CMI's DFQ": (58.0, 124.5),
        "NAYER": (53.0, 164.0),
        "Fast-Datafree": (57.0, 135.0),
    },
    ("resnet18", 64): {"CMI's DFQ": (14.0, 25.5), "NAYER": (12.0, 19.0)},
}
"""Their images a second: generator step, student step; the middle where a range was measured."""


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--network", choices=["resnet18", "resnet20"], help=argument_help())
    given = options.parse_args()
    if given.network:
        print(measure(given.network))
        return
    measured = [measure_apart(network) for network, _ in PEERS]
    rows = []
    for (key, peers), ours in zip(PEERS.items(), measured, strict=True):
        faster = ours["yardstick"] / THEIR_YARDSTICK
        for name, (generator, student) in peers.items():
            rows.append(
                {
                    "work": f"{key[0]}, B = {key[1]}",
                    "peer": name,
                    "generator_step": ours["generator"],
                    "generator_ratio": ours["generator"] / generator / faster,
                    "student_step": ours["student"],
                    "student_ratio": ours["student"] / student / faster,
                    "peak_gib": ours["peak_gib"],
                }
            )
    print(f"yardstick here {measured[0]['yardstick']:.0f} images/s, theirs {THEIR_YARDSTICK:.0f}\n")
    head = [
        "work",
        "against",
        "generator step, images/s",
        "ratio",
        "student step, images/s",
        "ratio",
        "peak GiB",
    ]
    print_table(head, [list(row.values()) for row in rows])
    write_json(given.json, {"rows": rows, "measured": measured, "their_yardstick": THEIR_YARDSTICK})


def argument_help() -> str:
    """Of the option that this program calls itself with."""
    return "measure this network only, in this process (peak memory is a process's)"


def measure_apart(network: str) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peers", "--network", network]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    numbers: dict[str, float] = dict(
        pair.split("=")
        for pair in done.stdout.split()  # type: ignore[misc]
    )
    return {name: float(value) for name, value in numbers.items()}


def measure(network: str) -> str:
    """Images a second of both steps, the yardstick, and peak memory, as words NAME=VALUE."""
    torch.set_num_threads(THREADS)
    batch = next(size for name, size in PEERS if name == network)
    settings = dataclasses.replace(
        make_settings(network, 32, batch), generator=GeneratorSettings(width=424, latent_dim=256)
    )
    parts = {
        part.name: part for part in parts_of(make_teachers(network, 32, 1), settings, torch.device("cpu"))
    }
    images, labels, look = parts["images for the union"], parts["labels of 1 teachers"], parts["augmentation"]

    def student_step() -> None:
        images.work()
        look.work()
        labels.work()
        parts["student step"].work()

    numbers: dict[str, Any] = {
        "generator": batch * THREADS / cpu_seconds(parts["generator step"].work, 8.0),
        "student": batch * THREADS / cpu_seconds(student_step, 8.0),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "yardstick": yardstick(),
    }
    return " ".join(f"{name}={value}" for name, value in numbers.items())


def yardstick() -> float:
    """ResNet-20's convolutions, forward and backward, images a second."""
    network = build_network("resnet20", image_spec(32))
    convolutions: list[tuple[nn.Conv2d, torch.Tensor]] = []

    def note(layer: nn.Module, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        convolutions.append((layer, inputs[0].detach().requires_grad_()))

    handles = [
        layer.register_forward_hook(note) for layer in network.modules() if isinstance(layer, nn.Conv2d)
    ]
    network(torch.rand(256, 3, 32, 32))
    for handle in handles:
        handle.remove()

    def work() -> None:
        for layer, inputs in convolutions:
            layer(inputs).sum().backward()

    return 256 * THREADS / cpu_seconds(work, 5.0)


if __name__ == "__main__":
    main()
