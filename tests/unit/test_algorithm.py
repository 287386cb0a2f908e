"""Algorithm 1: update counts, who learns from what, and the order that the reference fixes."""

import copy

import pytest
import torch

from fusion import algorithm
from fusion.assembly import build_party, build_student, student_spec
from fusion.generator import GeneratorSettings
from fusion.methods import Dfmf
from fusion.party import Party
from fusion.schedule import Schedule, cosine_lr
from fusion.student import Student
from tests.tiny import CPU, SPEC, settings, teacher


def parties_and_student(num_parties: int = 2, **changes: object) -> tuple[list[Party], Student]:
    teachers, chosen = [teacher(index) for index in range(num_parties)], settings(**changes)
    parties = [build_party(index, num_parties, one, chosen, CPU) for index, one in enumerate(teachers)]
    return parties, build_student(teachers, chosen, CPU)


def state(parties: list[Party], student: Student) -> dict[str, torch.Tensor]:
    modules = {f"{p.index}/{role}": module for p in parties for role, module in p.modules().items()}
    modules |= student.modules()
    return {
        f"{role}/{name}": value.clone()
        for role, module in modules.items()
        for name, value in module.state_dict().items()
    }


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def run(num_parties: int = 2, **changes: object) -> dict[str, torch.Tensor]:
    parties, student = parties_and_student(num_parties, **changes)
    schedule = settings(**changes).schedule
    algorithm.warm_up(parties, schedule)
    algorithm.fuse(parties, student, schedule)
    return state(parties, student)


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    assert same(run(seed=3), run(seed=3))
    assert not same(run(seed=3), run(seed=4))


def test_global_random_state_is_neither_used_nor_changed() -> None:
    torch.manual_seed(0)
    first, drawn = run(), torch.rand(3)
    torch.manual_seed(0)
    torch.rand(7)
    assert same(first, run())
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3))


def test_update_counts_are_those_of_algorithm_1(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: dict[str, int] = {}
    for owner, name in (
        (Party, "warm_up_step"),
        (Party, "update_generator"),
        (Party, "update_assistant"),
        (Student, "update"),
    ):
        original = getattr(owner, name)

        def counted(self: object, *args: object, _name: str = name, _original: object = original) -> object:
            counts[_name] = counts.get(_name, 0) + 1
            return _original(self, *args)  # type: ignore[operator]

        monkeypatch.setattr(owner, name, counted)
    schedule = Schedule(warmup_epochs=2, epochs=2, iterations_per_epoch=3, m_ga=4, m_s=5, batch_size=12)
    run(2, schedule=schedule)
    assert counts == {
        "warm_up_step": 2 * 2 * 3,
        "update_generator": 2 * 6,
        "update_assistant": 2 * 6 * 4,
        "update": 6 * 5,
    }


def test_the_union_batch_has_floor_b_over_k_images_of_each_party() -> None:
    parties, student = parties_and_student(
        3, schedule=Schedule(batch_size=16, epochs=1, iterations_per_epoch=1)
    )
    for party in parties:
        party.begin_iteration(0)
        assert party.synthesize().shape == (5, 1, 8, 8)
    student.begin_iteration(0)
    student.update(torch.cat([party.synthesize() for party in parties]))
    assert student.seen is not None
    assert student.seen.shape[0] == 15


def test_a_partys_step_is_its_part_of_the_loop_whatever_the_others_do() -> None:
    parties, _ = parties_and_student()
    lonely, _ = parties_and_student()
    for party in parties:
        party.begin_iteration(0)
    for party in parties:
        party.update_generator()
    for _ in range(2):
        for party in parties:
            party.update_assistant()
    together = [[party.synthesize() for party in parties] for _ in range(2)]
    alone = lonely[1].step(0)
    assert torch.equal(alone, torch.stack([row[1] for row in together]))


def test_an_iteration_can_be_drawn_again() -> None:
    parties, _ = parties_and_student()
    snapshot = copy.deepcopy(parties[0])
    first = [parties[0].step(iteration) for iteration in (0, 1)]
    again = [snapshot.step(iteration) for iteration in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_teachers_never_change() -> None:
    parties, student = parties_and_student()
    frozen = [*(party.teacher for party in parties), *student.teachers]
    before = [{name: value.clone() for name, value in one.state_dict().items()} for one in frozen]
    algorithm.fuse(parties, student, settings().schedule)
    for one, old in zip(frozen, before, strict=True):
        assert not one.training
        assert all(torch.equal(value, old[name]) for name, value in one.state_dict().items())


def test_judging_a_generator_does_not_train_its_assistant_and_training_an_assistant_not_its_generator() -> (
    None
):
    parties, student = parties_and_student(
        generator=GeneratorSettings(latent_dim=8, width=16, sampling="running")
    )
    party = parties[0]
    party.begin_iteration(0)
    weights = [parameter.clone() for parameter in party.assistant.parameters()]
    party.update_generator()
    assert all(torch.equal(a, b) for a, b in zip(weights, party.assistant.parameters(), strict=True))
    before = state([party], student)
    party.update_assistant()
    after = state([party], student)
    changed = {
        name.split("/")[1]
        for name in before
        if name.startswith("0/") and not torch.equal(before[name], after[name])
    }
    assert changed == {"assistant", "vid"}


@pytest.mark.parametrize("sampling", ["batch", "running"])
def test_sampling_uses_the_stated_batch_norm_statistics(sampling: str) -> None:
    chosen = GeneratorSettings(latent_dim=8, width=16, sampling=sampling)  # type: ignore[arg-type]
    party = parties_and_student(generator=chosen)[0][0]
    algorithm.warm_up([party], settings().schedule)
    party.begin_iteration(0)
    images = party.synthesize()
    party.begin_iteration(0)
    reference = copy.deepcopy(party.generator).train(sampling == "batch")
    with torch.no_grad():
        noise = torch.randn(6, 8, generator=torch.Generator().manual_seed(party._noise.initial_seed()))
        expected = reference(noise)
    assert torch.equal(images, expected)


def test_warm_up_fills_the_generators_running_statistics() -> None:
    party = parties_and_student()[0][0]
    fresh = party.generator.norms[0].running_var.clone()
    algorithm.warm_up([party], Schedule(warmup_epochs=30, epochs=1, iterations_per_epoch=2, batch_size=12))
    assert not torch.allclose(party.generator.norms[0].running_var, fresh)


def test_warm_up_lowers_the_fidelity_loss() -> None:
    party = parties_and_student(
        schedule=Schedule(warmup_epochs=40, epochs=1, iterations_per_epoch=1, batch_size=32)
    )[0][0]
    party.warm_up_step(0)
    first = party.meter.take()["warmup/bn"]
    for step in range(1, 40):
        party.warm_up_step(step)
    party.meter.take()
    party.warm_up_step(40)
    assert party.meter.take()["warmup/bn"] < 0.7 * first


def test_the_student_learns_a_single_teacher() -> None:
    schedule = Schedule(warmup_epochs=10, epochs=10, iterations_per_epoch=4, m_ga=1, m_s=10, batch_size=32)
    parties, student = parties_and_student(1, schedule=schedule)
    divergences: list[float] = []
    algorithm.warm_up(parties, schedule)
    algorithm.fuse(
        parties, student, schedule, lambda _: divergences.append(student.meter.take()["student/distill"])
    )
    assert divergences[-1] < 0.2 * divergences[0]


def test_terms_of_weight_zero_are_not_computed() -> None:
    parties, student = parties_and_student(method=Dfmf(beta=0.0))
    algorithm.fuse(parties, student, Schedule(epochs=1, iterations_per_epoch=1, m_ga=1, m_s=1, batch_size=12))
    names = {*parties[0].meter.take(), *student.meter.take()}
    assert not any("vid" in name for name in names)
    assert {"assistant/distill", "student/distill", "generator/adv", "generator/bn"} <= names


def test_learning_rates_follow_the_cosine_over_the_whole_main_phase() -> None:
    parties, student = parties_and_student()
    for iteration in range(4):
        parties[0].begin_iteration(iteration)
        student.begin_iteration(iteration)
        expected = 0.05 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * iteration / 4)).item())
        for optimiser in (parties[0].assistant_optimiser, student.optimiser):
            assert optimiser.param_groups[0]["lr"] == pytest.approx(expected)
    assert cosine_lr(0.05, 0, 10) == 0.05
    scheduler_lr = []
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.05)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=10)
    for _ in range(10):
        scheduler_lr.append(scheduler.get_last_lr()[0])
        optimiser.step()
        scheduler.step()
    assert [cosine_lr(0.05, one, 10) for one in range(10)] == pytest.approx(scheduler_lr)


def test_section_4_1_names_the_defaults() -> None:
    parties, student = parties_and_student()
    assert isinstance(parties[0].synthesiser.optimiser, torch.optim.Adam)
    assert parties[0].synthesiser.optimiser.param_groups[0]["lr"] == 1e-3
    assert parties[0].synthesiser.optimiser.param_groups[0]["betas"][0] == 0.5
    for optimiser in (student.optimiser, parties[0].assistant_optimiser):
        assert isinstance(optimiser, torch.optim.SGD)
        assert optimiser.param_groups[0]["nesterov"]
        assert optimiser.param_groups[0]["momentum"] == 0.9
    paper = Schedule()
    assert (paper.warmup_epochs, paper.epochs, paper.iterations_per_epoch) == (50, 200, 400)
    assert (paper.m_ga, paper.m_s, paper.batch_size) == (5, 10, 256)
    assert (Dfmf().alpha, Dfmf().beta, Dfmf().tau) == (0.1, 1.0, 3.0)


def test_assistants_have_the_architecture_that_is_asked_for() -> None:
    one = teacher(network="resnet8")
    assert (
        type(build_party(0, 1, one, settings(assistant="teacher"), CPU).assistant.network.fc)
        is torch.nn.Linear
    )
    as_teacher = build_party(0, 1, one, settings(assistant="teacher"), CPU).assistant.network.feature_channels
    as_student = build_party(0, 1, one, settings(assistant="student"), CPU).assistant.network.feature_channels
    assert (as_teacher, as_student) == (64, 32)


def test_heterogeneous_networks_and_normalisations_fuse() -> None:
    import dataclasses

    other = dataclasses.replace(SPEC, mean=(0.5,), std=(0.2,))
    teachers = [teacher(0, "resnet8-w8"), teacher(1, "alexnet", other), teacher(2, "vgg11-bn")]
    chosen = settings(student="resnet14", weights=(1.0, 2.0, 1.0))
    parties = [build_party(index, 3, one, chosen, CPU) for index, one in enumerate(teachers)]
    student = build_student(teachers, chosen, CPU)
    algorithm.warm_up(parties, chosen.schedule)
    algorithm.fuse(parties, student, chosen.schedule)
    assert student.weights == [0.25, 0.5, 0.25]
    assert all(torch.isfinite(value).all() for value in student.classifier.state_dict().values())
    assert student_spec(teachers).mean == pytest.approx(((0.3 + 0.5 + 0.3) / 3,))
    assert "warmup/bn" not in parties[1].meter.take()


def test_a_batch_smaller_than_the_parties_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be split over 3"):
        Schedule(batch_size=2).share(3)


def test_only_the_teachers_that_a_batch_asks_label_it_and_their_weights_sum_to_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import dataclasses

    from fusion import student as student_module

    schedule = dataclasses.replace(settings().schedule, teachers_per_batch=2)
    _, learner = parties_and_student(4, schedule=schedule, weights=(1.0, 2.0, 0.0, 1.0))
    asked: list[list[int]] = []
    weights: list[list[float]] = []
    original = student_module.union_distillation

    def spy(logits: object, student_logits: object, w: list[float], *rest: object, tau: float) -> object:
        weights.append(w)
        return original(logits, student_logits, w, *rest, tau=tau)  # type: ignore[arg-type]

    monkeypatch.setattr(student_module, "union_distillation", spy)
    for iteration in range(8):
        learner.begin_iteration(iteration % 4)
        view = learner.view(iteration)
        asked.append(view.look(torch.rand(12, 1, 8, 8))[1])
        learner.update(torch.rand(12, 1, 8, 8))
    assert all(len(chosen) == 2 and 2 not in chosen for chosen in asked)  # Teacher 2 has no weight.
    assert {tuple(chosen) for chosen in asked} == {(0, 1), (0, 3), (1, 3)}
    assert all(sum(w) == pytest.approx(1) for w in weights)
    assert {tuple(round(one, 3) for one in w) for w in weights} <= {
        (0.333, 0.667),
        (0.5, 0.5),
        (0.667, 0.333),
    }


def test_judging_changes_nothing_of_what_an_assistant_trains() -> None:
    party = build_party(0, 1, teacher(0), settings(), CPU)
    parameters = list(party.assistant.parameters())
    parameters[0].requires_grad_(False)  # As networks of other people have it with fixed embeddings.
    before = parameters[0].clone()
    party.step(0)
    assert [one.requires_grad for one in parameters] == [False, *[True] * (len(parameters) - 1)]
    assert torch.equal(parameters[0], before)
