"""Who updates what under each method, and what a party whose critic is the student is given."""

import copy
import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor

from fusion import algorithm
from fusion.assembly import FusionSettings, build_party, build_student, student_spec
from fusion.epoch import EpochReport
from fusion.method import Inverting
from fusion.methods import (
    AdaptiveDeepInversion,
    Cmi,
    CmiGa,
    Dafl,
    DeepInversion,
    Dfmf,
    Dfq,
    DfqNoAdv,
    Fast,
    Method,
    Nayer,
    Zskt,
)
from fusion.party import Party
from fusion.student import Student
from fusion.teachers import Teacher
from orchestrator.engines import Fused, Job, Weights
from orchestrator.keeper import Keeper
from orchestrator.local import LocalEngine
from orchestrator.snapshot import FRESH, Snapshot
from tests.tiny import CPU, SPEC, settings, teacher

CHOICES: list[Method] = [
    Dfmf(),
    Dfq(),
    DfqNoAdv(),
    Dafl(),
    Zskt(),
    DeepInversion(inversion_steps=2, inversion_every=2, bank_images=20),
    AdaptiveDeepInversion(inversion_steps=2, inversion_every=2, bank_images=20),
    Cmi(inversion_steps=2, inversion_every=2, bank_images=20, contrast_images=16),
    CmiGa(inversion_steps=2, inversion_every=1, bank_images=20, beta=1.0),
    Nayer(inversion_steps=2, inversion_every=1, bank_images=20, restart_every=3),
    Fast(inversion_steps=2, inversion_every=1, bank_images=20, meta_gradient="difference"),
]

MAKERS: dict[str, set[str]] = {
    "deepinversion": {"bank"},
    "adaptive_deepinversion": {"bank"},
    "cmi": {"bank", "head"},
    "cmi_ga": {"bank", "head"},
    "nayer": {"bank", "generator", "bn_memory"},
    "fast": {"bank", "generator", "bn_memory"},
}
"""What a party keeps to make images with, where it is no generator."""


def chosen(method: Method, **changes: object) -> FusionSettings:
    """Tiny settings that this method takes."""
    plan = settings().schedule
    if method.warmup_loss is None:
        plan = dataclasses.replace(plan, warmup_epochs=0)
    return settings(method=method, schedule=plan, **changes)


def built(method: Method, teachers: list[Teacher] | None = None) -> tuple[list[Party], Student]:
    given, wanted = teachers or [teacher(0), teacher(1)], chosen(method)
    spec = student_spec(given)
    parties = [build_party(index, len(given), one, wanted, CPU, spec) for index, one in enumerate(given)]
    return parties, build_student(given, wanted, CPU)


def copied(state: Weights) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def equal(one: Weights, other: Weights) -> bool:
    return set(one) == set(other) and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("method", CHOICES, ids=[one.name for one in CHOICES])
def test_each_phase_updates_what_the_method_says(method: Method) -> None:
    parties, student = built(method)
    plan, (party, _) = chosen(method).schedule, parties
    makers = MAKERS.get(method.name, {"generator"})
    roles = makers | ({"assistant", "vid"} if method.critic == "assistant" else set())
    assert set(party.modules()) == roles
    assert method.images_from in roles

    def parameters() -> dict[str, Weights]:
        return {
            role: copied(
                module.state_dict() if role in {"bank", "bn_memory"} else dict(module.named_parameters())
            )
            for role, module in {**party.modules(), **student.modules()}.items()
        }

    def moved(before: dict[str, Weights], after: dict[str, Weights]) -> set[str]:
        return {role for role in before if not equal(before[role], after[role])}

    fresh = parameters()
    algorithm.warm_up(parties, plan)
    warm = parameters()
    assert moved(fresh, warm) == (makers if method.warmup_loss else set())
    algorithm.fuse(parties, student, plan)
    learners = roles if method.trains_generators else roles - makers
    assert moved(warm, parameters()) == learners | {"student"} | ({"vids"} if method.beta > 0 else set())


@pytest.mark.parametrize("method", CHOICES, ids=[one.name for one in CHOICES])
def test_the_same_generator_and_student_start_under_every_method(method: Method) -> None:
    parties, student = built(method)
    reference, learner = built(Dfmf())
    if "generator" in (made := parties[1].modules()):
        assert equal(made["generator"].state_dict(), reference[1].generator.state_dict())
    assert equal(student.classifier.state_dict(), learner.classifier.state_dict())


@pytest.mark.parametrize(
    ("method", "judges"),
    [
        (Dfq(), [0, 1, 2, 3]),
        (Zskt(), [0, 1, 2, 3]),
        (Dfq(staleness=1), [0, 0, 1, 2]),
        (Zskt(staleness=2), [0, 0, 0, 1]),
        (Dfq(staleness=9), [0, 0, 0, 0]),
    ],
    ids=["dfq", "zskt", "dfq, 1", "zskt, 2", "dfq, beyond the end"],
)
def test_the_critic_is_the_student_of_before_by_as_much_as_it_lags(method: Method, judges: list[int]) -> None:
    parties, student = built(method)
    seen: list[Weights] = []
    after = [copied(student.classifier.network.state_dict())]
    for party in parties:
        original = party.update_generator

        def update(party: Party = party, original: object = original) -> None:
            assert party.critic is not None
            seen.append(copied(party.critic.network.state_dict()))
            original()  # type: ignore[operator]

        party.update_generator = update  # type: ignore[method-assign]

    def note(done: int) -> None:
        after.append(copied(student.classifier.network.state_dict()))
        assert list(student.critics.past) == list(range(max(0, done - (method.lag or 0)), done))

    algorithm.fuse(parties, student, chosen(method).schedule, note)
    assert len(seen) == 2 * 4
    for iteration, done in enumerate(judges):
        assert all(equal(critic, after[done]) for critic in seen[2 * iteration : 2 * iteration + 2])
    assert not any(equal(one, other) for one, other in itertools.pairwise(after))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_generators_judge_leaves_the_student_as_it_is(mode: str) -> None:
    parties, student = built(Dfq(critic_mode=mode))  # type: ignore[arg-type]
    before = copied(student.classifier.state_dict())
    parties[0].begin_iteration(0, student.as_critic(0))
    parties[0].update_generator()
    assert equal(before, student.classifier.state_dict())
    assert all(one.grad is None for one in student.classifier.parameters())
    assert parties[0].critic is not None
    assert all(one.grad is None for one in parties[0].critic.parameters())


def test_a_step_with_the_students_weights_is_the_partys_part_of_the_loop() -> None:
    parties, student = built(Dfq())
    lonely, _ = built(Dfq())
    algorithm.fuse(
        parties, student, dataclasses.replace(chosen(Dfq()).schedule, epochs=1, iterations_per_epoch=1)
    )
    _, fresh = built(Dfq())
    alone = lonely[1].step(0, fresh.as_critic(0))
    assert alone.shape[0] == 2
    assert equal(lonely[1].state(), parties[1].state())


def test_the_adversary_of_zskt_is_minus_the_divergence_between_teacher_and_student() -> None:
    parties, student = built(Zskt(tau=2.0, critic_mode="eval"))
    party = parties[0]
    party.begin_iteration(0, student.as_critic(0))
    generator, stream = copy.deepcopy(party.generator).train(), copy.deepcopy(party._noise.get_state())
    noise = torch.randn(12, 8, generator=torch.Generator().set_state(stream))
    with torch.no_grad():
        images = generator(noise)
        target = torch.softmax(party.teacher(images).logits / 2.0, dim=1)
        judged = torch.softmax(student.classifier.eval()(images).logits / 2.0, dim=1)
    expected = -(target * (target / judged).log()).sum(dim=1).mean()
    party.update_generator()
    assert party.meter.take()["generator/adv"] == pytest.approx(float(expected), rel=1e-4)


def test_a_student_that_knows_more_classes_judges_those_of_the_teacher() -> None:
    known = [dataclasses.replace(SPEC, classes=names) for names in (("a", "b", "c", "d"), ("d", "e", "c"))]
    parties, student = built(Dfq(), [teacher(index, spec=spec) for index, spec in enumerate(known)])
    assert [party.columns for party in parties] == [[0, 1, 2, 3], [3, 4, 2]]
    parties[1].begin_iteration(0, student.as_critic(0))
    images = torch.rand(5, 1, 8, 8)
    judged = parties[1]._judge(images)
    assert judged is not None
    torch.testing.assert_close(judged, student.classifier.train()(images).logits[:, [3, 4, 2]])
    algorithm.fuse(parties, student, chosen(Dfq()).schedule)


class Heard:
    """An observer that keeps the epochs."""

    def __init__(self) -> None:
        self.epochs: list[EpochReport] = []

    def said(self, line: str) -> None: ...

    def advanced(self, phase: str, done: int, total: int) -> None: ...

    def epoch(self, report: EpochReport) -> None:
        self.epochs.append(report)

    def student(self, weights: Weights, iterations: int) -> None: ...


class Everything(Keeper):
    """A keeper of every iteration's snapshot."""

    def __init__(self) -> None:
        super().__init__(iterations=1)
        self.kept: list[Snapshot] = []

    def keep(self, snapshot: Snapshot, names: object) -> None:
        self.kept.append(snapshot)


def fused(method: Method, start: Snapshot = FRESH) -> tuple[Fused, Heard, Everything]:
    heard, keeper = Heard(), Everything()
    job = Job(
        teachers=[teacher(0), teacher(1)],
        settings=chosen(method),
        evaluation=None,
        start=start,
        keeper=keeper,
    )
    return LocalEngine(1).fuse(job, heard), heard, keeper


LAGGING: list[Method] = [Dfq(staleness=1), Dfq(staleness=9)]
DROPPING: Method = Nayer(
    inversion_steps=2, inversion_every=2, bank_images=20, noisy_layer="batchnorm-linear-dropout"
)

FEWER: list[Method] = [
    dataclasses.replace(one, inversion_batch=4) for one in CHOICES if isinstance(one, Inverting)
]
"""Of a bank that at first holds fewer images than a party's share, six."""


@pytest.mark.parametrize(
    "method",
    [*CHOICES, *LAGGING, DROPPING, *FEWER],
    ids=[
        *(one.name for one in CHOICES),
        *("dfq, 1", "dfq, beyond the end", "nayer, dropout"),
        *(f"{one.name}, small batches" for one in FEWER),
    ],
)
def test_a_local_run_ends_with_finite_losses_and_goes_on_from_a_snapshot_to_the_same_bits(
    method: Method,
) -> None:
    whole, heard, keeper = fused(method)
    metrics = heard.epochs[-1].metrics
    assert metrics
    assert all(math.isfinite(value) for value in metrics.values())
    terms = {name.rsplit("/", 1)[1] for name in metrics if name.startswith("generator/")}
    assert bool(terms) == method.trains_generators
    assert any(name.startswith("assistant/") for name in metrics) == (method.critic == "assistant")
    assert {"student/distill", "student/party-1/adv"} <= set(metrics)
    assert ("student/party-0/vid" in metrics) == (method.beta > 0)
    middle = next(one for one in keeper.kept if one.iterations == 2)
    again, _, _ = fused(method, middle)
    assert equal(again.student, whole.student)
    for ours, theirs in zip(again.parties, whole.parties, strict=True):
        assert set(ours) == set(theirs)
        assert all(equal(ours[role], theirs[role]) for role in ours)
