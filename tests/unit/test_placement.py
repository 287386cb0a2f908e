import pytest

from orchestrator.cluster import check_workers
from orchestrator.errors import UserError
from orchestrator.placement import plan_actors
from orchestrator.sections import EngineSettings


@pytest.mark.parametrize(
    ("parties", "cpus", "gpus", "engine", "student", "groups", "party"),
    [
        # Enough of everything: one CPU and one GPU each.
        (2, 8, 4, {}, (1, 1), [1, 1], (1, 1)),
        # No GPU: an actor for every CPU; three actors on two CPUs share by halves.
        (2, 2, 0, {}, (0.5, 0), [1, 1], (0.5, 0)),
        (2, 16, 0, {}, (1, 0), [1, 1], (1, 0)),
        (5, 2, 0, {}, (0.5, 0), [2, 3], (0.5, 0)),
        # Parties that share a GPU live in one actor; the student has one where there are two.
        (2, 16, 1, {}, (1, 0.5), [2], (1, 0.5)),
        (4, 16, 2, {}, (1, 1), [4], (1, 1)),
        (4, 16, 3, {}, (1, 1), [2, 2], (1, 1)),
        (2, 16, 0.5, {}, (1, 0.25), [2], (1, 0.25)),
        (8, 16, 9, {}, (1, 1), [1] * 8, (1, 1)),
        # What is named is taken.
        (2, 16, 4, {"gpus_per_party": 0.5, "student_gpus": 2.0}, (1, 2.0), [1, 1], (1, 0.5)),
        (2, 16, 2, {"gpus_per_party": 0.0}, (1, 1), [1, 1], (1, 0)),
        (2, 4, 0, {"gpus_per_party": 1.0}, (1, 0), [1, 1], (1, 1.0)),
        (4, 16, 2, {"gpus_per_party": 0.25, "party_actors": 2}, (1, 1), [2, 2], (1, 0.5)),
        (8, 2, 0, {"party_actors": 1}, (1, 0), [8], (1, 0)),
        # A student of several workers: a GPU each where that leaves one for the parties.
        (2, 16, 4, {"student_workers": 2}, (1, 1), [1, 1], (1, 1)),
        (2, 16, 3, {"student_workers": 2}, (1, 1), [2], (1, 1)),
        (2, 16, 2, {"student_workers": 2, "gpus_per_party": 0.0}, (1, 1), [1, 1], (1, 0)),
        # Many parties on few CPUs; more CPUs than parties.
        (9, 1, 0, {}, (0.5, 0), [9], (0.5, 0)),
        (300, 64, 0, {}, (0.5, 0), [4, 5, 5], (0.5, 0)),
    ],
)
def test_the_plan(
    parties: int,
    cpus: float,
    gpus: float,
    engine: dict[str, float],
    student: tuple[float, float],
    groups: list[int],
    party: tuple[float, float],
) -> None:
    plan = plan_actors(parties, EngineSettings(**engine), cpus, gpus)  # type: ignore[arg-type]
    assert {(share.cpus, share.gpus) for share in plan.students} == {student}
    assert {(group.share.cpus, group.share.gpus) for group in plan.groups} == {party}
    sizes = [len(group.members) for group in plan.groups]
    assert sizes[: len(groups)] == groups
    assert max(sizes) - min(sizes) <= 1
    assert [index for group in plan.groups for index in group.members] == list(range(parties))
    assert plan.num_parties == parties


def test_what_is_shared_out_always_fits() -> None:
    for parties in range(1, 40):
        for cpus in (1, 2, 3, 7, 64):
            for gpus in (0, 1, 2, 3, 8):
                for workers in (1, 2, 3):
                    plan = plan_actors(parties, EngineSettings(student_workers=workers), cpus, gpus)
                    assert plan.cpus <= cpus + 1e-9
                    assert plan.gpus <= gpus + 1e-9
                    assert all(share.gpus > 0 for share in plan.shares) == (gpus > 0)


def test_ray_train_places_several_workers_itself() -> None:
    plan = plan_actors(2, EngineSettings(student_workers=2), 8, 0)
    assert len(plan.shares) == 4
    assert plan.bundles == [{"CPU": 1.0}, {"CPU": 1.0}]


def test_bundles_name_only_what_is_reserved_and_the_student_comes_first() -> None:
    plan = plan_actors(2, EngineSettings(student_gpus=1.0, gpus_per_party=0.0), 3, 1)
    assert plan.bundles == [{"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0}, {"CPU": 1.0}]
    assert (plan.students[0].device, plan.groups[0].share.device) == ("cuda", "cpu")


@pytest.mark.parametrize(
    ("gpus", "engine", "refused"),
    [
        (2.0, {"student_workers": 2}, True),
        (1.0, {"student_workers": 3}, True),
        (3.0, {"student_workers": 2}, False),
        (2.0, {"student_workers": 2, "gpus_per_party": 0.0}, False),
        (0.0, {"student_workers": 2}, False),
        (1.0, {}, False),
    ],
)
def test_more_student_workers_than_gpus_are_refused(
    gpus: float, engine: dict[str, float], refused: bool
) -> None:
    plan = plan_actors(2, EngineSettings(**engine), 16, gpus)  # type: ignore[arg-type]
    if not refused:
        check_workers(plan, gpus)
        return
    with pytest.raises(UserError) as caught:
        check_workers(plan, gpus)
    workers = int(engine["student_workers"])
    assert str(caught.value) == (
        f"engine.student_workers: {workers} workers need a GPU each and the parties one more (or none: "
        f"engine.gpus_per_party=0); the cluster has {gpus:g}"
    )
