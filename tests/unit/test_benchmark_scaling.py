"""The benchmark of scaling: what it measures, and what its model makes of it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import scaling
from benchmarks.common import student_costs
from benchmarks.scaling import main, measure, model
from fusion.epoch import EpochReport
from orchestrator.placement import plan_actors
from orchestrator.sections import EngineSettings

COSTS = {
    "party": 0.05,
    "images": 0.008,
    "label": 0.002,
    "student": 0.009,
    "asking": 0.001,
    "image_way": 1e-5,
    "label_way": 2e-5,
    "batch": 64.0,
}


def test_costs_are_measured_also_where_the_first_iteration_takes_all_the_time() -> None:
    costs = measure("resnet8-w8", 8, 8, least=1e-9)
    assert all(costs[part] > 0 for part in ("party", "images", "label", "student"))
    assert costs["batch"] == 8
    assert costs.keys() == COSTS.keys()


def test_each_teacher_that_is_asked_costs_the_student_something() -> None:
    assert student_costs(1.0, 10.0, 17.0, 8) == {"student": 1.0 + 9.0, "asking": 1.0}
    assert student_costs(1.0, 10.0, 9.5, 8) == {"student": 11.0, "asking": 0.0}  # Noise.
    time = model(COSTS, 8)
    assert (time.student, time.asking) == (0.009, (0.001,) * 8)


def test_a_batch_holds_an_image_of_every_party() -> None:
    few, many = model(COSTS, 64), model(COSTS, 128)
    for part in ("student", "images"):
        assert getattr(many, part) == 2 * getattr(few, part)
    for part in ("label", "asking", "labels"):
        assert getattr(many, part)[0] == 2 * getattr(few, part)[0]
    assert few.party[0] == 0.05 + 0.008 / 64
    assert many.party[0] == 2 * (0.05 + 0.008 / 128)


def report(path: Path, *options: str) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["scaling", "--json", str(path), *options])
        main()
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_what_the_model_says_of_costs_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "costs.json").write_text(json.dumps({"costs": COSTS}))
    rows = report(tmp_path / "out.json", "--costs", str(tmp_path / "costs.json"))["simulated"]
    by_parties = {row["parties"]: row for row in rows}
    assert set(by_parties) == set(scaling.MANY)
    assert {row["batch"] for row in rows} == {64, 100, 1000, 10_000}
    # A party of 58 ms is the longest lane, until the student with a millisecond for each teacher is.
    assert by_parties[1]["efficiency"] == 1.0
    assert by_parties[8]["efficiency"] > 1.0
    assert by_parties[100]["by_parties"] < 0.6 * by_parties[32]["by_parties"]
    assert by_parties[100]["some"] > by_parties[100]["by_parties"]
    assert report(tmp_path / "again.json", "--costs", str(tmp_path / "costs.json"))["scaling"] == []


def test_real_runs_are_rated_against_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs are stand-ins that take 0.5 s for each epoch of ten iterations, on two cores."""
    clock = iter(range(10_000))

    class Engine:
        def __init__(self, *_: object) -> None:
            pass

        def fuse(self, job: Any, observer: Any) -> None:
            for epoch in range(job.settings.schedule.epochs):
                observer.epoch(EpochReport(epoch=epoch, metrics={}, accuracy=None, samples={}))
                observer.wall[-1] = 0.5 * next(clock)

    class Cluster:
        def __init__(self, parties: int = 0, engine: EngineSettings | None = None, *_: object) -> None:
            self.plan = plan_actors(parties, engine, 2, 0) if engine is not None else None

        def __enter__(self) -> Any:
            return self.plan, None

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(scaling, "measure_loaded", lambda *_: COSTS)
    monkeypatch.setattr(scaling, "RayEngine", Engine)
    monkeypatch.setattr(scaling, "cluster", lambda _: Cluster())
    monkeypatch.setattr(scaling, "placed", Cluster)
    monkeypatch.setattr(scaling, "os", SimpleNamespace(sched_getaffinity=lambda _: {0, 1}))
    monkeypatch.setattr(scaling, "time", SimpleNamespace(sleep=lambda _: None))
    rows = report(tmp_path / "out.json", "--iterations", "10")["scaling"]
    assert [(row["parties"], row["labelling"]) for row in rows] == [
        (parties, labelling) for parties in scaling.PARTIES for labelling in ("student", "parties")
    ]
    assert {row["iterations_per_s"] for row in rows} == {20.0}
    # One party: 58 ms of its own, 10 and 2 of the student, in a twentieth of a second of two cores.
    assert rows[0]["efficiency"] == pytest.approx((0.058 + 0.010 + 0.002) * 20 / 2, rel=1e-3)
    assert rows[0]["predicted"] == pytest.approx(1 / 0.058)
