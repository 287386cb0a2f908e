"""Actors that die or freeze in mid-run: the run ends by itself, with the bits of one that nothing befell."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks.injection import Harm, Injector, freeze, kill
from fusion.methods import Dfq
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
JUDGED = Job(
    teachers=[teacher(0), teacher(1)],
    settings=settings(schedule=SCHEDULE, method=Dfq(staleness=2)),
    evaluation=None,
    keeper=Keeper(),
)
"""The student is the critic."""
STUDENT, PARTY = "StudentWorker", "PartyWorker"


def tensors(fused: Fused) -> dict[str, torch.Tensor]:
    found = {f"student/{name}": value for name, value in fused.student.items()}
    found |= {f"vids/{name}": value for name, value in fused.vids.items()}
    for index, roles in enumerate(fused.parties):
        for role, state in roles.items():
            found |= {f"{index}/{role}/{name}": value for name, value in state.items()}
    return found


def undisturbed(job: Job = JOB) -> tuple[dict[str, torch.Tensor], Injector]:
    listener = Injector({})
    return tensors(LocalEngine(threads=1).fuse(job, listener)), listener


@pytest.fixture(scope="module")
def reference() -> tuple[dict[str, torch.Tensor], Injector]:
    return undisturbed()


@pytest.fixture(scope="module")
def judged_reference() -> tuple[dict[str, torch.Tensor], Injector]:
    return undisturbed(JUDGED)


@pytest.fixture(scope="module")
def kept(ray_cluster: None) -> Iterator[KeptEngine]:
    with kept_engine() as engine:
        yield engine


def disturbed(
    kept: KeptEngine,
    harms: dict[tuple[str, int], Harm],
    every: int | None = 4,
    todo: Job = JOB,
    **engine: Any,
) -> tuple[dict[str, torch.Tensor], Injector]:
    chosen = EngineSettings(party_actors=2, **engine)
    injector = Injector(harms)
    job = dataclasses.replace(todo, keeper=Keeper(iterations=every, say=injector.said))
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
    "both parties die": ({("fusion", 5): kill(PARTY), ("fusion", 9): kill(PARTY)}, {"prefetch": 3}),
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
    case: str, reference: tuple[dict[str, torch.Tensor], Injector], kept: KeptEngine
) -> None:
    harms, engine = CASES[case]
    assert_same(disturbed(kept, harms, **engine), reference)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (PARTY, r"(party-\d): restored from iteration \d+.*\nall others go back with \1: the student is"),
        (STUDENT, "the student failed"),
    ],
    ids=["a party dies", "the student dies"],
)
def test_where_the_student_is_the_critic_all_go_back_together(
    lost: str, said: str, judged_reference: tuple[dict[str, torch.Tensor], Injector], kept: KeptEngine
) -> None:
    found, injector = disturbed(kept, {("fusion", 7): kill(lost)}, todo=JUDGED)
    assert_same((found, injector), judged_reference)
    assert re.search(said, injector.text())


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_run_that_is_stopped_keeps_parties_and_their_critic_after_the_same_iteration(
    judged_reference: tuple[dict[str, torch.Tensor], Injector], kept: KeptEngine
) -> None:
    """And another engine goes on from there."""
    injector, keeper = Injector({("fusion", 7): interrupt}), Keeper()
    job, engine = dataclasses.replace(JUDGED, keeper=keeper), EngineSettings(party_actors=2)
    with pytest.raises(KeyboardInterrupt):
        kept.fuse(job, engine, injector)
    start = keeper.newest()
    assert {one.iterations for one in start.parties.values()} == {start.iterations}
    assert start.iterations >= 7
    again = LocalEngine(threads=1).fuse(dataclasses.replace(JUDGED, start=start), Injector({}))
    found, expected = tensors(again), judged_reference[0]
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []


def test_a_warm_up_that_is_stopped_keeps_what_there_is_of_it(
    reference: tuple[dict[str, torch.Tensor], Injector], kept: KeptEngine
) -> None:
    """And another engine goes on from there."""
    keeper, engine = Keeper(), EngineSettings(party_actors=2)
    with pytest.raises(KeyboardInterrupt):
        kept.fuse(dataclasses.replace(JOB, keeper=keeper), engine, Injector({("warm-up", 6): interrupt}))
    start = keeper.newest()
    assert sum(one.warmup_steps for one in start.parties.values()) >= 6
    listener = Injector({})
    again = LocalEngine(threads=1).fuse(dataclasses.replace(JOB, start=start), listener)
    found, (expected, undisturbed) = tensors(again), reference
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    assert listener.reports[0].metrics == undisturbed.reports[0].metrics


def assert_same(
    run: tuple[dict[str, torch.Tensor], Injector], reference: tuple[dict[str, torch.Tensor], Injector]
) -> None:
    (found, injector), (expected, listener) = run, reference
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    assert "restart 1 of at most 10" in injector.text()
    # Every epoch is told once, with the same loss terms.
    for mine, theirs in zip(injector.reports, listener.reports, strict=True):
        terms = {name: value for name, value in mine.metrics.items() if not name.startswith("engine/")}
        assert (mine.epoch, terms) == (theirs.epoch, theirs.metrics)


def test_an_actor_that_dies_too_often_ends_the_run(kept: KeptEngine) -> None:
    with pytest.raises(ActorLost, match=r"party-\d failed: .*restarted 0 times \(engine.restarts\)"):
        disturbed(kept, {("fusion", 2): kill(PARTY)}, restarts=0)
