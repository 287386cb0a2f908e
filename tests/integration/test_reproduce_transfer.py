"""A table of transfer sets from a person's own images to the page with accuracies and distances, without
Ray."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from fusion.data.sources import DataSettings, load
from orchestrator.errors import Interrupted
from orchestrator.reproducing import Order, reproduce
from orchestrator.sweep import driving
from tests.paper_tables import stops_after, without_cluster
from tests.tiny import SHORT_TABLE

SHORT = (*SHORT_TABLE, "schedule.warmup_epochs=0", "method.images=100")


def images(folder: Path) -> str:
    """Digits as somebody's images, in which a teacher sees every class: some as a folder, and a file of
    others."""
    train, _ = load(DataSettings(source="digits"))
    (folder / "Tiny_ImageNet").mkdir(parents=True)
    cells = []
    for index, pixels in enumerate(train.images[:800, 0].numpy()):
        path = folder / "Tiny_ImageNet" / f"{index}.png"
        Image.fromarray(pixels).save(path)
        if index % 2:
            cells.append({"bytes": path.read_bytes(), "path": None})
            path.unlink()
    pq.write_table(pa.table({"image": cells}), folder / "mine.parquet")
    return f"method.sources=[{folder / 'Tiny_ImageNet'}, {folder / 'mine.parquet'}]"


def test_a_persons_images_make_a_table_with_distances_that_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_cluster(monkeypatch)
    overrides = (*SHORT, images(tmp_path), f"output={tmp_path / 'runs'}", "pretrain.recipe.epochs=8")
    asked = Order(table="transfer-5", seeds=2, rows=("tiny-imagenet", "mine"), overrides=overrides)
    quiet = Console(quiet=True)
    monkeypatch.setattr(driving, "run_trials", stops_after(1))
    with pytest.raises(Interrupted):
        reproduce(asked, quiet)
    monkeypatch.setattr(driving, "run_trials", stops_after(3))
    folder = reproduce(asked, quiet).folder

    trials = folder / "digits" / "trials"
    sets = [
        json.loads((trials / f"mine_student_seed-{seed}" / "transfer_set.json").read_text())
        for seed in (0, 1)
    ]
    distances = [one["hausdorff"]["party-0"] for one in sets]
    with (folder / "table.csv").open(encoding="utf-8") as file:
        lines = {(one["row"], one["column"]): one for one in csv.DictReader(file)}
    mine = lines["mine", "student"]
    assert float(mine["distance_mean"]) == pytest.approx(sum(distances) / 2)
    assert float(mine["distance_sd"]) == pytest.approx(abs(distances[0] - distances[1]) / 2**0.5)
    assert float(mine["accuracy_mean"]) > 0
    assert (mine["published"], mine["distance_published"]) == ("", "")
    assert lines["natural", "student"]["distance_published"] == "28.53"
    assert lines["teachers", "student"]["distance_mean"] == ""

    page = (folder / "table.md").read_text()
    shown = f"{float(mine['distance_mean']):.2f} ± {float(mine['distance_sd']):.2f}"
    assert f"| mine: feature distance | {shown} | - | - |" in page
    assert "| random noise: feature distance | - | 36.40 | - |" in page
    assert "teachers: feature distance" not in page
    assert "still to do" not in page
