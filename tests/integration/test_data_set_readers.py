"""A run's synthetic images as Ray Data reads them."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console

from orchestrator import fuse
from orchestrator.synthetic_data import write_data_set
from tests.tiny import tiny_run

pytestmark = pytest.mark.ray


def test_ray_data_reads_what_is_in_the_file(ray_cluster: None, tmp_path: Path) -> None:
    import ray

    torch.set_num_threads(1)
    run = fuse(
        tiny_run(output=str(tmp_path / "runs"), tracking={"enabled": False}), console=Console(quiet=True)
    )
    path = tmp_path / "images.parquet"
    write_data_set(run.folder, path, 21)
    rows = ray.data.read_parquet(str(path)).take_all()
    expected = pd.read_parquet(path).set_index(pd.read_parquet(path)["image"].map(lambda cell: cell["path"]))
    assert sorted(row["image"]["path"] for row in rows) == sorted(expected.index)
    assert len(rows) == 21
    for row in rows:
        theirs = expected.loc[row["image"]["path"]]
        assert row["image"]["bytes"] == theirs["image"]["bytes"]
        assert (row["label"], row["party"]) == (theirs["label"], theirs["party"])
        for name in ("soft_labels_party-0", "soft_labels_party-1"):
            assert list(row[name]) == list(theirs[name])
