"""What runs share: which settings decide it, and that it is the same bits as computed alone."""

import dataclasses
import shutil
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import ray
import torch
from safetensors.torch import load_file

from orchestrator import distributed, fuse
from orchestrator.distributed import RayEngine
from orchestrator.engines import Hardware
from orchestrator.environment import processor
from orchestrator.loading import Tree, parse_config
from orchestrator.local import LocalEngine
from orchestrator.placement import plan_actors
from orchestrator.run_parts import FusionResult
from orchestrator.sections import EngineSettings
from orchestrator.sharing import claimed, warm_up_key
from tests.tiny import SPEC, teacher, tiny_run

TEACHERS = [teacher(0), teacher(1)]


def key(hardware: str = "a processor", **changes: Any) -> dict[str, Any]:
    base: Tree = tiny_run()
    for path, value in changes.items():
        *sections, last = path.split("__")
        place: Any = base
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return warm_up_key(parse_config(base, "run"), TEACHERS, hardware)


@pytest.mark.parametrize(
    "changes",
    [
        {"method__alpha": 0.5},
        {"method__beta": 0.0},
        {"method__tau": 1.0},
        {"schedule__m_ga": 2},
        {"schedule__m_s": 2},
        {"schedule__epochs": 9},
        {"student": "resnet8"},
        {"optimisation": {"student_lr": 0.1}},
    ],
)
def test_what_does_not_decide_the_warm_up_leaves_its_key(changes: dict[str, Any]) -> None:
    assert key(**changes) == key()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"schedule__warmup_epochs": 2},
        {"schedule__iterations_per_epoch": 6},
        {"schedule__batch_size": 16},
        {"generator__width": 16},
        {"method__bn_reduction": "mean"},
        {"optimisation": {"generator_lr": 0.01}},
        {"assistant": "student"},
        {"engine__threads": 2},
        {"method__name": "dfq_no_adv"},
        {"method__name": "dafl"},
    ],
)
def test_what_decides_the_warm_up_changes_its_key(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


@pytest.mark.parametrize("name", ["dfq", "dfq_no_adv", "dafl"])
def test_without_assistants_no_assistant_decides_the_warm_up(name: str) -> None:
    assert key(method__name=name, assistant="student") == key(method__name=name)
    assert key(method__name=name, student="resnet8") == key(method__name=name)
    assert key(method__name=name, method__tau=1.0) == key(method__name=name)


def test_what_the_parties_compute_on_decides_the_warm_up() -> None:
    assert key("a GPU") != key("a processor") != key("another processor")


@pytest.mark.parametrize(
    ("settings", "gpus", "parties", "lessons"),
    [
        ({}, 0, "a processor", "a processor"),
        ({}, 2, "GPU H200", "GPU H200"),
        ({"gpus_per_party": 0.0}, 2, "a processor", "a processor, GPU H200"),
        ({"student_gpus": 0.0}, 2, "GPU H200", "a processor, GPU H200"),
        ({"gpus_per_party": 0.0, "student_workers": 2}, 2, "a processor", "a processor"),
    ],
)
def test_what_the_parties_compute_on_follows_from_the_plan_and_not_from_what_the_driver_sees(
    settings: dict[str, Any], gpus: int, parties: str, lessons: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "processor", lambda: "a processor")
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "accelerator_type:H200": 1.0})
    engine = EngineSettings(**settings)
    plan = plan_actors(2, engine, 8, gpus)
    assert RayEngine(engine, plan, Mock()).hardware == Hardware(parties=parties, lessons=lessons)


def test_in_one_process_everything_computes_on_the_gpu_or_the_processor() -> None:
    here = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    assert LocalEngine(1).hardware == Hardware(parties=here, lessons=here)


def test_methods_share_a_warm_up_where_it_is_the_same() -> None:
    dfq, frozen, dafl = (key(method__name=name) for name in ("dfq", "dfq_no_adv", "dafl"))
    assert dfq == frozen != dafl
    assert key(method__name="dfq", method__bn_reduction="mean") != dfq
    changes: dict[str, object] = {
        "activation_weight": 0.2,
        "batch_entropy_weight": 1.0,
        "instance_loss": "entropy",
    }
    for name, value in changes.items():
        assert key(method__name="dafl", **{f"method__{name}": value}) != dafl


def test_other_teachers_have_another_warm_up() -> None:
    config = parse_config(tiny_run(), "run")
    brighter = dataclasses.replace(SPEC, mean=(0.4,))
    for others in (
        [teacher(0), teacher(2)],
        TEACHERS[::-1],
        [teacher(0), teacher(1, spec=brighter)],
        [*TEACHERS, teacher(2)],
    ):
        assert warm_up_key(config, others, "here") != warm_up_key(config, TEACHERS, "here")
    renamed = [teacher(0, name="a"), teacher(1, name="b")]
    assert warm_up_key(config, renamed, "here") == warm_up_key(config, TEACHERS, "here")


def run(folder: Path, name: str, **changes: Any) -> FusionResult:
    schedule = {**tiny_run()["schedule"], "m_ga": changes.pop("m_ga", 5)}  # type: ignore[dict-item]
    quiet = {"tracking": {"enabled": False}, "output": str(folder), "name": name, "schedule": schedule}
    return fuse(tiny_run(**quiet, **changes))


def assert_same(mine: Path, theirs: Path) -> None:
    for name in ("student", "teachers/party-1", "parties/party-0/generator", "parties/party-1/assistant"):
        ours, others = (load_file(one / f"{name}.safetensors") for one in (mine, theirs))
        assert all(ours[key].equal(others[key]) for key in ours), name


def test_a_run_with_a_cache_has_the_bits_of_one_without(tmp_path: Path) -> None:
    cache = {"checkpoint": {"cache": str(tmp_path / "cache")}}
    first = run(tmp_path, "first", **cache)
    entries = sorted((tmp_path / "cache").glob("*/*"))
    assert [one.parent.name for one in entries] == ["teachers", "warm-up"]
    second = run(tmp_path, "second", m_ga=2, **cache)
    assert sorted((tmp_path / "cache").glob("*/*")) == entries
    alone = run(tmp_path, "alone", m_ga=2)
    assert_same(second.folder, alone.folder)
    assert first.summary["student"] != second.summary["student"]
    shutil.rmtree(entries[0])
    (next(entries[1].glob("*/party-1.safetensors"))).write_bytes(b"damaged")
    assert_same(run(tmp_path, "third", m_ga=2, **cache).folder, alone.folder)


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    seen: list[str] = []
    inside = threading.Event()

    def first() -> None:
        with claimed(str(tmp_path), "warm-up", {"a": 1}, seen.append):
            inside.set()
            time.sleep(0.5)
            seen.append("first is done")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with claimed(str(tmp_path), "warm-up", {"a": 2}, seen.append):  # Another's is no obstacle.
        assert seen == []
    with claimed(str(tmp_path), "warm-up", {"a": 1}, seen.append) as folder:
        assert folder is not None
        assert len(seen) == 2
        assert seen[0].startswith("waiting for the warm-up that another run is at work on")
        assert seen[1] == "first is done"
    thread.join()
