"""Canaries on a part of Fashion-MNIST, as short as it can be: a fusion, then `dfmf audit --data`.

    python -m benchmarks.leakage --root FOLDER --json leakage.json

The first `--train` and `--test` images of the data set, as torchvision's or Debian's files lie in FOLDER,
are written as Parquet beside the run, since a configuration takes a whole data set. The student is far from
trained to the end.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from rich.console import Console

from benchmarks.common import parser, write_json
from fusion.data.labelled import LabelledImages
from fusion.data.sources import DataSettings, load
from orchestrator.audit_report import membership_table
from orchestrator.auditing import audit
from orchestrator.running import fuse

EPOCHS = 25


def main() -> None:
    """Fuse, audit, print the table."""
    given = _arguments()
    torch.set_num_threads(1)
    parts = load(DataSettings(source="fashion-mnist", root=str(given.root)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, count, path in zip(parts, (given.train, given.test), ("train", "test"), strict=True):
            write_parquet(part, count, folder / f"{path}.parquet")
        result = fuse(configuration(folder, given), console=Console(file=sys.stderr))
        report = audit(str(result.folder), "audit.steps=1", data=True)
    scores = {one["name"]: one["accuracy"] for one in result.summary["teachers"]}
    scores["student"] = result.summary["student"]["accuracy"]
    print(", ".join(f"{name} {accuracy:.1f} %" for name, accuracy in scores.items()))
    Console(width=110).print(membership_table(report["membership"]))
    write_json(given.json, {"accuracy": scores, "membership": report["membership"]})


def configuration(folder: Path, given: argparse.Namespace) -> dict[str, object]:
    """Two parties, balanced; a short warm-up and a short main phase."""
    recipe = {"epochs": EPOCHS, "batch_size": 64, "milestones": [15, 20], "crop_padding": 0, "flip": 0}
    return {
        "name": "leakage",
        "output": str(folder),
        "student": "resnet8",
        "data": {
            "source": "parquet",
            "train": str(folder / "train.parquet"),
            "test": str(folder / "test.parquet"),
        },
        "pretrain": {
            "networks": ["resnet8"],
            "gold_standard": False,
            "canaries": given.canaries,
            "recipe": recipe,
        },
        "schedule": {
            "warmup_epochs": 5,
            "epochs": 2,
            "iterations_per_epoch": given.iterations,
            "batch_size": 64,
        },
        "generator": {"width": 128, "latent_dim": 128},
        "augmentation": {"flip": 0},
        "engine": {"mode": "local"},
        "tracking": {"enabled": False},
        "seed": given.seed,
    }


def write_parquet(part: LabelledImages, count: int, path: Path) -> None:
    """The first `count` images as PNG with their labels."""
    encoded = []
    for image in part.images[:count, 0]:
        buffer = io.BytesIO()
        Image.fromarray(image.numpy()).save(buffer, format="PNG")
        encoded.append(buffer.getvalue())
    pq.write_table(pa.table({"image": encoded, "label": part.labels[:count].tolist()}), path)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--root", type=Path, required=True, help="folder with the data set's files")
    options.add_argument("--train", type=int, default=3000)
    options.add_argument("--test", type=int, default=3000)
    options.add_argument("--canaries", type=int, default=100, help="of each party")
    options.add_argument("--iterations", type=int, default=30, help="in each of two epochs")
    options.add_argument("--seed", type=int, default=0)
    return options.parse_args()


if __name__ == "__main__":
    main()
