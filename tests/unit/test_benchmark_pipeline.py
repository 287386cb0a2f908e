"""The benchmark of the pipeline: what it makes of what it measures. Engines and cluster are stand-ins."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import pipeline


class Cluster:
    """A place with nothing in it."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> tuple[None, None]:
        return None, None

    def __exit__(self, *_: object) -> None:
        pass


def engine(wall: float, cpu: float) -> Any:
    """An epoch takes so many seconds of both kinds and leaves two MiB more."""

    class Engine:
        def fuse(self, job: Any, clock: pipeline.Clock) -> None:
            epochs = range(job.settings.schedule.epochs + 1)  # The warm-up's is the first.
            clock.wall[:] = [100 + wall * epoch for epoch in epochs]
            clock.cpu[:] = [50 + cpu * epoch for epoch in epochs]
            clock.memory[:] = [300.0 + 2 * epoch for epoch in epochs]

    return Engine()


def report(path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> dict[str, Any]:
    threads = {1: engine(wall=8.0, cpu=8.0), 2: engine(wall=5.0, cpu=10.0)}
    monkeypatch.setattr(pipeline, "LocalEngine", threads.__getitem__)
    monkeypatch.setattr(pipeline, "RayEngine", lambda *_: engine(wall=4.0, cpu=9.0))
    monkeypatch.setattr(pipeline, "cluster", Cluster)
    monkeypatch.setattr(pipeline, "placed", Cluster)
    monkeypatch.setattr(pipeline, "os", SimpleNamespace(sched_getaffinity=lambda _: {0, 1}))
    small = ("--network", "resnet8-w8", "--batch", "8", "--iterations", "10")
    monkeypatch.setattr("sys.argv", ["pipeline", *small, "--json", str(path), *options])
    pipeline.main()
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_ray_is_held_against_the_better_sequential_loop_and_the_work_of_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = report(tmp_path / "out.json", monkeypatch)
    assert numbers["ratio_to_sequential"] == pytest.approx(5 / 4)
    assert numbers["overhead_fraction"] == pytest.approx(9 / 8 - 1)
    assert {name: len(runs) for name, runs in numbers["engines"].items()} == {
        "one thread": 3,
        "2 threads": 3,
        "ray": 3,
    }
    assert numbers["engines"]["ray"][0] == {
        "iterations_per_s": pytest.approx(2.5),
        "cpu_s": pytest.approx(0.9),
        "memory_mib_per_epoch": 2.0,
    }


def test_where_memory_is_measured_nothing_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = report(tmp_path / "out.json", monkeypatch, "--memory", "--epochs", "2", "--repeats", "1")
    (mib,) = numbers["memory_mib"]
    assert mib == [300.0 + 2 * epoch for epoch in range(len(mib))]
    assert len(mib) == 4  # After the warm-up, the epoch that goes ahead, and two.
    assert set(numbers["engines"]) == {"ray"}
    assert "ratio_to_sequential" not in numbers
