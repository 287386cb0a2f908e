"""The model of a run's speed: worked by hand, and what it chooses."""

import dataclasses

import pytest

from fusion.evaluation import forward_flops
from fusion.generator import build_generator
from fusion.methods import AdaptiveDeepInversion, Cmi, Dafl, DeepInversion, Dfq, DfqNoAdv, Method
from fusion.networks import build_network
from orchestrator.costs import Costs, Seconds, count, iteration_seconds, lanes
from orchestrator.estimate import estimate
from orchestrator.loading import load_config
from orchestrator.placement import Group, Plan, Share, plan_actors
from orchestrator.sections import EngineSettings
from orchestrator.speed import Hardware, faster_labelling, period, warmup_seconds
from tests.tiny import SPEC, settings

TIME = Seconds(
    party=(4.0, 6.0), label=(1.0, 2.0), student=8.0, asking=(1.5, 0.5), images=0.5, labels=(0.25, 0.25)
)


def test_lanes_are_the_work_of_each_actor() -> None:
    assert lanes(TIME, [(0,), (1,)], "student") == [10 + 0.5 + 3, 4, 6]
    assert lanes(TIME, [(0, 1)], "student") == [13.5, 10]
    assert lanes(TIME, [(0,), (1,)], "parties") == [10 + 0.5 + 0.5 + 0.5, 5, 8]
    assert lanes(TIME, [(0,), (1,)], "student", workers=2) == [5 + 0.5 + 1.5, 4, 6]


def test_the_students_own_step_grows_with_the_teachers_that_are_asked() -> None:
    half = dataclasses.replace(TIME, asked=0.5)
    for labelling, there in (("student", 1.5), ("parties", 0.5 + 0.25)):
        assert lanes(half, [(0, 1)], labelling)[0] == 8 + 0.5 * 2 + 0.5 + there  # type: ignore[arg-type]


def test_an_iteration_takes_the_longest_lane_or_all_work_over_all_processors() -> None:
    assert iteration_seconds([5.0, 3.0, 3.0], 3) == 5.0
    assert iteration_seconds([5.0, 3.0, 3.0], 2) == 5.5


def test_in_lockstep_parties_wait_for_the_student() -> None:
    networks = ["resnet8-w8", "resnet20"]
    choices: dict[Method, bool] = {Dfq(): True, Dfq(staleness=1): False, Dafl(): False}
    for method, in_turns in choices.items():
        assert count(settings(method=method), SPEC, networks).in_turns == in_turns, method


def costs_of(**changes: object) -> Costs:
    """In operations: the parties 4 and 6, the student 8 and 2 for its teachers, who take 1 and 2."""
    made: dict[str, object] = {
        "warmup_flops": (10.0, 30.0),
        "party_flops": (4.0, 6.0),
        "label_flops": (1.0, 2.0),
        "student_flops": 8.0,
        "asking_flops": (1.5, 0.5),
        "image_bytes": 0.0,
        "label_bytes": (0.0, 0.0),
        "asked": 1.0,
    }
    return Costs(**(made | changes))  # type: ignore[arg-type]


ONE, CPU_LANE = Share(1.0, 1.0), Share(1.0, 0.0)
HALF = Share(1.0, 0.5)


@pytest.mark.parametrize(
    ("students", "groups", "warmup", "expected", "in_turns"),
    [
        # Two lanes of CPUs at once: 23 operations on two lanes, but 13 in the longest; the warm-up 30.
        ([CPU_LANE], [CPU_LANE, CPU_LANE], 30, 13, 13 + 6),
        # A GPU, ten times as fast, for the student; the parties share the CPUs.
        ([ONE], [CPU_LANE, CPU_LANE], 30, 6, 1.3 + 6),
        # The same shared by halves: one GPU for all lanes together.
        ([HALF], [Share(1.0, 0.25), Share(1.0, 0.25)], 4, 2.3, 1.3 + 1.0),
        # A GPU each.
        ([ONE], [ONE, ONE], 3, 1.3, 1.3 + 0.6),
        # Two workers of the student, on two of four GPUs.
        ([ONE, ONE], [ONE, ONE], 3, 0.65, 0.65 + 0.6),
    ],
)
def test_lanes_share_what_they_run_on(
    students: list[Share], groups: list[Share], warmup: float, expected: float, in_turns: float
) -> None:
    plan = Plan(students, [Group((index,), share) for index, share in enumerate(groups)])
    hardware = Hardware(cpu_rate=1.0, cpu_lanes=2.0, gpu_rate=10.0)
    assert warmup_seconds(costs_of(), plan, hardware) == pytest.approx(warmup)
    assert period(costs_of(), plan, hardware, "student") == pytest.approx(expected)
    assert period(costs_of(in_turns=True), plan, hardware, "student") == pytest.approx(in_turns)


def test_more_lanes_than_cpus_take_turns() -> None:
    plan = Plan([CPU_LANE], [Group((0,), CPU_LANE), Group((1,), CPU_LANE)])
    hardware = Hardware(cpu_rate=1.0, cpu_lanes=1.0)
    assert period(costs_of(), plan, hardware, "student") == 23
    assert period(costs_of(in_turns=True), plan, hardware, "parties") == 23
    assert warmup_seconds(costs_of(), plan, hardware) == 40


def test_the_counts_are_those_of_algorithm_1() -> None:
    chosen = settings()
    schedule, image = chosen.schedule, (1, SPEC.channels, SPEC.size, SPEC.size)
    costs = count(chosen, SPEC, ["resnet8-w8", "resnet20"])
    g = forward_flops(build_generator(chosen.generator, SPEC), (1, chosen.generator.latent_dim))
    s, t = (forward_flops(build_network(name, SPEC), image) for name in ("resnet8-w8", "resnet20"))
    union = schedule.m_s * 12
    assert costs.label_flops == (union * s, union * t)
    assert costs.student_flops == union * 3 * s
    # The regressor of VID: 32 channels of the student to 32 and 64 of the teachers, on maps of 2 x 2.
    assert costs.asking_flops == (union * 3 * 2 * 32 * 32 * 4, union * 3 * 2 * 32 * 64 * 4)
    # A forward and a backward pass to the images through teacher and assistant, both to the generator's
    # weights; for each assistant update a pass of generator and teacher and both ways of the assistant.
    own = 12 * (3 * g + 4 * t) + schedule.m_ga * 12 * (g + 4 * t) + schedule.m_s * 6 * g
    assert costs.party_flops[1] == own
    assert costs.image_bytes == union * 64 * 4
    assert costs.label_bytes[0] == union * 4 * (32 * 2 * 2 + 4)


def test_a_method_costs_what_it_updates() -> None:
    image = (1, SPEC.channels, SPEC.size, SPEC.size)
    s, t = (forward_flops(build_network(name, SPEC), image) for name in ("resnet8-w8", "resnet20"))
    schedule = settings().schedule
    g = forward_flops(build_generator(settings().generator, SPEC), (1, 8))
    images = schedule.m_s * 6 * g
    expected: dict[Method, float] = {
        Dfq(): 12 * (3 * g + 2 * t + 2 * s) + images,
        Dafl(): 12 * (3 * g + 2 * t) + images,
        DfqNoAdv(): images,
        Cmi(inversion_steps=30, inversion_every=10): 3 * 12 * (3 * g + 4 * t + 2 * s),
        DeepInversion(inversion_steps=30, inversion_every=10): 3 * 12 * 2 * t,
        DeepInversion(inversion_steps=30, inversion_every=10, inversion_batch=5): 3 * 5 * 2 * t,
        AdaptiveDeepInversion(inversion_steps=30, inversion_every=10): 3 * 12 * (2 * t + 2 * s),
    }
    for method, flops in expected.items():
        costs = count(settings(method=method), SPEC, ["resnet8-w8", "resnet20"])
        assert costs.party_flops[1] == flops, method
        assert costs.student_flops == schedule.m_s * 12 * 3 * s


def test_the_memory_of_a_bank_is_that_of_its_images_and_features() -> None:
    def bytes_of(method: str, images: int) -> float:
        changes = ["schedule.warmup_epochs=0", f"method={{name: {method}, bank_images: {images}}}"]
        config = load_config("demo", changes)
        return estimate(config, SPEC, ["resnet8-w8"]).party_bytes

    for method, numbers in (("nayer", 64), ("cmi", 64 + 2 * 32)):
        assert bytes_of(method, 2000) - bytes_of(method, 1000) == 1000 * 2 * numbers


def test_the_memory_of_an_update_is_that_of_the_images_that_it_looks_at() -> None:
    def bytes_of(method: str, batch: int | None, schedule: int = 64) -> float:
        chosen = f"method={{name: {method}, bank_images: 1000, inversion_batch: {batch or 'null'}}}"
        changes = ["schedule.warmup_epochs=0", f"schedule.batch_size={schedule}", chosen]
        return estimate(load_config("demo", changes), SPEC, ["resnet8-w8"]).party_bytes

    for method in ("nayer", "cmi_ga"):
        whole, twice, half = (bytes_of(method, batch) for batch in (None, 128, 32))
        assert whole == bytes_of(method, 64)
        assert twice - whole == pytest.approx(2 * (whole - half))
    # An assistant's own batch is the schedule's, however small an inversion's is.
    assert bytes_of("nayer", 2, 64) == bytes_of("nayer", 2, 512)
    assert bytes_of("cmi_ga", 2, 64) < bytes_of("cmi_ga", 2, 512)


@pytest.mark.parametrize(
    ("parties", "cpus", "gpus", "expected"),
    [
        # A GPU for each of many parties: the student would be the slowest with all teachers beside it.
        (8, 32, 9, "parties"),
        # Everything on one device: labels would only travel.
        (2, 16, 1, "student"),
        (2, 2, 0, "student"),
        (8, 2, 0, "student"),
    ],
)
def test_who_labels_by_default(parties: int, cpus: float, gpus: float, expected: str) -> None:
    chosen = dataclasses.replace(
        settings(), schedule=dataclasses.replace(settings().schedule, batch_size=256, m_s=10, m_ga=5)
    )
    spec = dataclasses.replace(SPEC, size=32, channels=3, mean=(0.5,) * 3, std=(0.2,) * 3)
    chosen = dataclasses.replace(chosen, student="resnet18")
    costs = count(chosen, spec, ["resnet18"] * parties)
    engine = EngineSettings()
    assert faster_labelling(costs, plan_actors(parties, engine, cpus, gpus), engine) == expected
