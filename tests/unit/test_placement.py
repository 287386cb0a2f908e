import pytest

from orchestrator.config import EngineSettings
from orchestrator.placement import plan_actors


@pytest.mark.parametrize(
    ("parties", "cpus", "gpus", "engine", "student", "party"),
    [
        # Enough of everything: one CPU and one GPU each.
        (2, 8, 4, {}, (1, 1), (1, 1)),
        # No GPU: CPUs only; three actors on two CPUs share by halves.
        (2, 2, 0, {}, (0.5, 0), (0.5, 0)),
        (2, 16, 0, {}, (1, 0), (1, 0)),
        # One GPU for three actors, two for five.
        (2, 16, 1, {}, (1, 0.33), (1, 0.33)),
        (4, 16, 2, {}, (1, 0.33), (1, 0.33)),
        # What is named is taken.
        (2, 16, 4, {"gpus_per_party": 0.5, "student_gpus": 2.0}, (1, 2.0), (1, 0.5)),
        (2, 16, 2, {"gpus_per_party": 0.0}, (1, 0.5), (1, 0)),
        (2, 4, 0, {"gpus_per_party": 1.0}, (1, 0), (1, 1.0)),
        # Many parties on few CPUs.
        (9, 1, 0, {}, (0.1, 0), (0.1, 0)),
    ],
)
def test_the_plan(
    parties: int,
    cpus: float,
    gpus: float,
    engine: dict[str, float],
    student: tuple[float, float],
    party: tuple[float, float],
) -> None:
    plan = plan_actors(parties, EngineSettings(**engine), cpus, gpus)  # type: ignore[arg-type]
    assert (plan.student.cpus, plan.student.gpus) == student
    assert {(share.cpus, share.gpus) for share in plan.parties} == {party}
    assert len(plan.parties) == parties


def test_what_is_shared_out_always_fits() -> None:
    for parties in range(1, 40):
        for cpus in (1, 2, 3, 7, 64):
            for gpus in (0, 1, 2, 3, 8):
                plan = plan_actors(parties, EngineSettings(), cpus, gpus)
                assert plan.cpus <= cpus + 1e-9
                assert plan.gpus <= gpus + 1e-9


def test_bundles_name_only_what_is_reserved_and_the_student_comes_first() -> None:
    plan = plan_actors(2, EngineSettings(student_gpus=1.0, gpus_per_party=0.0), 3, 1)
    assert plan.bundles == [{"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0}, {"CPU": 1.0}]
    assert (plan.student.device, plan.parties[0].device) == ("cuda", "cpu")
