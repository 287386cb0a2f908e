"""Actors that die or freeze in mid-run: the run ends by itself, with the bits of one that nothing befell."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks.injection import Harm, Injector, freeze, kill
from fusion.schedule import Schedule
from orchestrator.engines import Fused, Job
from orchestrator.keeper import Keeper
from orchestrator.local import LocalEngine
from orchestrator.sections import EngineSettings
from orchestrator.waiting import ActorLost
from tests.engines import KeptEngine, kept_engine
from tests.tiny import settings, teacher

pytestmark = pytest.mark.ray

SCHEDULE = Schedule(warmup_epochs=4, epochs=3, iterations_per_epoch=6, m_ga=2, m_s=2, batch_size=12)
JOB = Job(
    teachers=[teacher(0), teacher(1)], settings=settings(schedule=SCHEDULE), evaluation=None, keeper=Keeper()
)
STUDENT, PARTY = "StudentWorker", "PartyWorker"


def tensors(fused: Fused) -> dict[str, torch.Tensor]:
    found = {f"student/{name}": value for name, value in fused.student.items()}
    found |= {f"vids/{name}": value for name, value in fused.vids.items()}
    for index, roles in enumerate(fused.parties):
        for role, state in roles.items():
            found |= {f"{index}/{role}/{name}": value for name, value in state.items()}
    return found


@pytest.fixture(scope="module")
def undisturbed() -> tuple[dict[str, torch.Tensor], Injector]:
    torch.set_num_threads(1)
    listener = Injector({})
    return tensors(LocalEngine(threads=1).fuse(JOB, listener)), listener


@pytest.fixture(scope="module")
def kept(ray_cluster: None) -> Iterator[KeptEngine]:
    with kept_engine() as engine:
        yield engine


def disturbed(
    kept: KeptEngine, harms: dict[tuple[str, int], Harm], every: int | None = 4, **engine: Any
) -> tuple[dict[str, torch.Tensor], Injector]:
    chosen = EngineSettings(party_actors=2, **engine)
    injector = Injector(harms)
    job = dataclasses.replace(JOB, keeper=Keeper(iterations=every, say=injector.said))
    fused = kept.fuse(job, chosen, injector)
    assert injector.harms == {}, "no harm was done"
    return tensors(fused), injector


CASES: dict[str, tuple[dict[tuple[str, int], Harm], dict[str, Any]]] = {
    "a party dies in the warm-up": ({("warm-up", 18): kill(PARTY)}, {}),
    "a party dies in the main phase": ({("fusion", 7): kill(PARTY)}, {}),
    "a party dies before the first snapshot": ({("warm-up", 6): kill(PARTY)}, {"every": None}),
    "a party that labels dies": (
        {("fusion", 7): kill(PARTY)},
        {"labelling": "parties", "prefetch": 2},
    ),
    "both parties die": ({("fusion", 5): kill(PARTY, 0), ("fusion", 9): kill(PARTY, 1)}, {"prefetch": 3}),
    "the student dies": ({("fusion", 7): kill(STUDENT)}, {}),
    "the student dies without a snapshot of the main phase": (
        {("fusion", 7): kill(STUDENT)},
        {"every": None},
    ),
    "the student and a party die": ({("fusion", 7): lambda: (kill(STUDENT)(), kill(PARTY)())}, {}),
    "a party freezes": ({("fusion", 7): freeze(PARTY)}, {"silent_seconds": 3.0}),
    "the student freezes": ({("fusion", 7): freeze(STUDENT)}, {"silent_seconds": 3.0}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_was_hit_ends_with_the_bits_of_one_that_was_not(
    case: str, undisturbed: tuple[dict[str, torch.Tensor], Injector], kept: KeptEngine
) -> None:
    harms, engine = CASES[case]
    found, injector = disturbed(kept, harms, **engine)
    expected, listener = undisturbed
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    assert "restart 1 of at most 10" in injector.text()
    # Every epoch is told once, with the same loss terms.
    for mine, theirs in zip(injector.reports, listener.reports, strict=True):
        terms = {name: value for name, value in mine.metrics.items() if not name.startswith("engine/")}
        assert (mine.epoch, terms) == (theirs.epoch, theirs.metrics)


def test_an_actor_that_dies_too_often_ends_the_run(kept: KeptEngine) -> None:
    with pytest.raises(ActorLost, match=r"party-\d failed: .*restarted 0 times \(engine.restarts\)"):
        disturbed(kept, {("fusion", 2): kill(PARTY)}, restarts=0)
