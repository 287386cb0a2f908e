"""What the benchmarks share: synthetic teachers, ceilings of the machine, tables and JSON."""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from fusion.assembly import FusionSettings
from fusion.generator import GeneratorSettings
from fusion.health import Limits
from fusion.networks import ImageSpec, build_network
from fusion.schedule import Schedule
from fusion.seeding import seeded_initialisation
from fusion.teachers import Teacher

CLASSES = tuple(str(label) for label in range(10))
NO_COLLAPSE = Limits(fewest_classes=1.0)
"""Teachers with random weights may see one class in everything."""


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Options that every benchmark has."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, help="also write the numbers here")
    return made


def image_spec(size: int) -> ImageSpec:
    """Grey below 32 pixels, as digits and Fashion-MNIST; colour from there on, as CIFAR."""
    channels = 1 if size < 32 else 3
    return ImageSpec(
        size=size, channels=channels, classes=CLASSES, mean=(0.5,) * channels, std=(0.25,) * channels
    )


def make_teachers(network: str, size: int, count: int) -> list[Teacher]:
    """Teachers with random weights: time does not depend on what they know."""
    teachers = []
    for index in range(count):
        with seeded_initialisation(0, "benchmark", index):
            weights = build_network(network, image_spec(size)).state_dict()
        teachers.append(
            Teacher(name=f"party-{index}", network=network, spec=image_spec(size), weights=weights)
        )
    return teachers


def make_settings(network: str, size: int, batch: int, **schedule: Any) -> FusionSettings:
    """The generator of the preset for images of this size; no warm-up."""
    widths = {8: (64, 64), 28: (128, 256)}
    width, latent = widths.get(size, (512, 512))
    return FusionSettings(
        student=network,
        schedule=Schedule(warmup_epochs=0, batch_size=batch, **schedule),
        generator=GeneratorSettings(width=width, latent_dim=latent),
    )


def cpu_seconds(work: Callable[[], object], least: float = 1.0) -> float:
    """Process CPU seconds of one call, the mean over at least `least` seconds of calls after a first one."""
    work()
    calls, started = 0, time.process_time()
    while time.process_time() - started < least:
        work()
        calls += 1
    return (time.process_time() - started) / calls


def student_costs(look: float, one: float, several: float, teachers: int) -> dict[str, float]:
    """The student's own seconds an iteration and what each teacher adds that is asked, from its looks at the
    images and its steps with one teacher and with several."""
    asking = max(0.0, several - one) / (teachers - 1)
    return {"student": look + max(0.0, one - asking), "asking": asking}


def hardware() -> dict[str, Any]:
    """What the numbers were measured on."""
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "load_before": _load(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A Markdown table with its columns in line."""
    cells = [[str(one) for one in head], *([_cell(one) for one in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for position, row in enumerate(cells):
        padded = (one.ljust(width) for one, width in zip(row, widths, strict=True))
        print("| " + " | ".join(padded) + " |")
        if position == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def write_json(path: Path | None, numbers: dict[str, Any]) -> None:
    """The same numbers for a program."""
    if path is not None:
        path.write_text(json.dumps(numbers | {"hardware": hardware()}, indent=2) + "\n")


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def _load() -> str:
    path = Path("/proc/loadavg")
    return path.read_text().split()[0] if path.exists() else ""
