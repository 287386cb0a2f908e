"""What parties and the student minimise, what they draw, and how they learn: each setting reaches what it is
for, and no two streams are one."""

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from fusion import losses, pretraining
from fusion.assembly import build_party, build_student, student_spec
from fusion.epoch import mean_metrics
from fusion.generator import GeneratorSettings, build_generator
from fusion.methods import METHODS, CmiGa, Dfmf, Fast
from fusion.objective import total
from fusion.party import Party
from fusion.schedule import Optimisation
from fusion.student import Student
from fusion.synthesis import held_out_images, synthetic_images
from fusion.vid import Vid
from tests.tiny import CPU, SPEC, settings, teacher, without_warmup


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parties_and_student(**changes: Any) -> tuple[list[Party], Student]:
    teachers, chosen = [teacher(index) for index in range(2)], settings(**changes)
    parties = [build_party(index, 2, one, chosen, CPU) for index, one in enumerate(teachers)]
    return parties, build_student(teachers, chosen, CPU)


def divergence(target: Tensor, learner: Tensor) -> Tensor:
    return kl_divergence(Categorical(probs=target), Categorical(probs=learner)).mean()


def test_a_tiny_teacher_looks_at_its_images() -> None:
    """Else no test would see whose image a label is of."""
    for network in ("resnet8-w8", "resnet8", "resnet14"):
        said = teacher(0, network).build()(torch.rand(9, 1, 8, 8, generator=stream()))
        assert said.logits.std(dim=0).max() > 0.01, network


@pytest.mark.parametrize(("scale", "factor"), [("one", 1.0), ("tau_squared", 4.0)])
def test_an_assistant_minimises_equation_2_on_a_whole_batch(scale: Any, factor: float) -> None:
    party, twin = (
        parties_and_student(method=Dfmf(tau=2.0, beta=0.3, distill_scale=scale))[0][0] for _ in range(2)
    )
    seen: list[Any] = []
    party._minimise = lambda objective, *_: seen.append(objective)
    for one in (party, twin):
        one.begin_iteration(0)
    party.update_assistant()
    images = twin.synthesiser.sample(12, twin._noise)
    said, own = twin.teacher(images), twin.assistant.train()(images)
    expected = factor * divergence((said.logits / 2).softmax(1), (own.logits / 2).softmax(1))
    torch.testing.assert_close(total(seen[0]), expected + 0.3 * twin.vid(own.features, said.features))


def test_the_student_minimises_equation_1_on_the_augmented_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"method": Dfmf(tau=2.0, beta=0.3, distill_scale="tau_squared"), "weights": (1.0, 3.0)}
    student, twin = (parties_and_student(**chosen)[1] for _ in range(2))
    seen: list[Any] = []
    monkeypatch.setattr("fusion.student.total", lambda terms: (seen.append(terms), total(terms))[1])
    images = torch.rand(12, 1, 8, 8, generator=stream())
    student.begin_iteration(1)
    student.update(images)
    looked, _ = twin.view(1).look(images)
    own, said = twin.classifier.train()(looked), [one(looked) for one in twin.teachers]
    mixture = sum(w * (one.logits / 2).softmax(1) for w, one in zip((0.25, 0.75), said, strict=True))
    vids = [vid(own.features, one.features) for vid, one in zip(twin.learner.vids, said, strict=True)]
    expected = 4 * divergence(mixture, (own.logits / 2).softmax(1)) + 0.3 * (0.25 * vids[0] + 0.75 * vids[1])
    torch.testing.assert_close(total(seen[0]), expected)
    metrics = student.meter.take()
    for index, part in enumerate((slice(0, 6), slice(6, 12))):  # Fig. 4: of a party's own images.
        adv = losses.adversarial(said[index].logits[part], own.logits[part], tau=2.0)
        assert metrics[f"student/party-{index}/adv"] == pytest.approx(float(adv.detach()), rel=1e-4)


def test_no_two_parties_steps_or_iterations_share_their_draws_or_weights() -> None:
    parties, student = parties_and_student()
    first, second = (one.generator.linear.weight.clone() for one in parties)
    assert not torch.equal(first, second)
    other = parties_and_student(seed=1)[1].classifier.state_dict()
    assert any(not torch.equal(value, other[name]) for name, value in student.classifier.state_dict().items())
    seeds = [student.view(iteration)._draws.initial_seed() for iteration in range(2)]
    for party in parties:
        for number in range(2):
            party.warm_up_step(number)
            seeds.append(party._noise.initial_seed())
            party.begin_iteration(number)
            seeds.append(party._noise.initial_seed())
    assert len(set(seeds)) == 2 + 2 * 2 * 2


def test_optimisers_are_as_the_settings_say() -> None:
    chosen = Optimisation(momentum=0.7, weight_decay=1e-3, generator_beta1=0.2)
    learner = chosen.learner([torch.nn.Parameter(torch.ones(1))], 0.05).param_groups[0]
    assert (learner["momentum"], learner["weight_decay"]) == (0.7, 1e-3)
    assert chosen.generator([torch.nn.Parameter(torch.ones(1))]).param_groups[0]["betas"] == (0.2, 0.999)


def test_a_rewind_halves_every_learning_rate_and_changes_the_noise() -> None:
    chosen = settings(rewinds=2)
    assert chosen.tamed_optimisation() == Optimisation(
        student_lr=0.0125, assistant_lr=0.0125, generator_lr=0.00025
    )
    assert len({settings(rewinds=count).noise_seed() for count in range(3)}) == 3
    party = build_party(0, 1, teacher(0), without_warmup(Fast(), rewinds=2), CPU, student_spec([teacher(0)]))
    assert party.synthesiser._for_noise.generator_lr == 0.0025


def test_the_students_normalisation_is_the_mean_of_the_teachers() -> None:
    other = dataclasses.replace(SPEC, mean=(0.5,), std=(0.2,))
    spec = student_spec([teacher(0), teacher(1, spec=other)])
    assert (spec.mean, spec.std) == (pytest.approx((0.4,)), pytest.approx((0.3,)))


def test_an_assistant_that_judges_in_eval_mode_learns_in_train_mode() -> None:
    method = CmiGa(inversion_steps=1, inversion_every=1, bank_images=30)
    party = build_party(0, 2, teacher(0), without_warmup(method), CPU, student_spec([teacher(0)]))
    party.step(0)
    tracked = [v for n, v in party.assistant.state_dict().items() if n.endswith("num_batches_tracked")]
    assert tracked and all(int(one) == 2 for one in tracked)  # M_GA updates, and none by judging.


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_critic_judges_in_its_mode(mode: Any) -> None:
    party = build_party(0, 1, teacher(0), settings(method=Dfmf(critic_mode=mode)), CPU)
    party.begin_iteration(0)
    party.update_generator()
    assert party.assistant.training == (mode == "train")


def test_critics_of_inversions_judge_in_eval_mode_unless_told_otherwise() -> None:
    modes = {name: one().critic_mode for name, one in METHODS.items() if hasattr(one(), "critic_mode")}
    inverting = ("adaptive_deepinversion", "cmi", "cmi_ga", "nayer", "fast")
    assert modes == {**dict.fromkeys(("dfmf", "dfq", "zskt"), "train"), **dict.fromkeys(inverting, "eval")}


def test_a_map_of_another_size_is_averaged_and_the_variance_starts_at_five() -> None:
    vid, mine = Vid(2, 3), torch.rand(2, 2, 4, 4, generator=stream())
    theirs = torch.rand(2, 3, 2, 2, generator=stream(1))
    torch.testing.assert_close(vid(mine, theirs), vid(F.avg_pool2d(mine, 2), theirs))
    variance = torch.full((3,), 5.0)
    expected = losses.gaussian_nll(vid.regressor(F.avg_pool2d(mine, 2)), theirs, variance)
    torch.testing.assert_close(vid(mine, theirs), expected.mean())


def test_means_are_over_the_iterations_that_have_a_term() -> None:
    assert mean_metrics([{"a": 1.0}, {"a": 2.0, "b": 3.0}, {"a": 6.0}]) == {"a": 3.0, "b": 3.0}


def test_parties_are_asked_for_images_of_their_own_noise() -> None:
    small = GeneratorSettings(latent_dim=4, width=8)
    state = build_generator(small, SPEC).state_dict()
    first, second = held_out_images([state] * 2, [SPEC] * 2, settings(generator=small)).chunk(2)
    assert not torch.equal(first, second)


def test_a_preview_has_the_statistics_of_all_sampling() -> None:
    chosen = GeneratorSettings(latent_dim=8, width=16, sampling="running")
    party = parties_and_student(generator=chosen)[0][0]
    torch.testing.assert_close(party.preview(2), party.preview(9)[:2])


def test_a_recipe_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        pretraining, "set_lr", lambda optimiser, lr: seen.append((lr, optimiser.param_groups[0]))
    )
    recipe = pretraining.Recipe(epochs=5, milestones=(2, 3), lr=0.2, momentum=0.7, weight_decay=1e-3)
    images, labels = torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.arange(4)
    pretraining.train_classifier("resnet8-w8", SPEC, images, labels, recipe, seed=0, name="a", device=CPU)
    assert [lr for lr, _ in seen] == pytest.approx([0.2, 0.2, 0.02, 0.002, 0.002])
    assert {(one["momentum"], one["weight_decay"]) for _, one in seen} == {(0.7, 1e-3)}


def test_second_batches_of_a_data_set_are_new() -> None:
    small = GeneratorSettings(latent_dim=4, width=8)
    state = build_generator(small, SPEC).state_dict()
    first, second = synthetic_images(0, state, SPEC, settings(generator=small), 512, CPU)
    assert not torch.equal(first, second)
    (other,) = synthetic_images(1, state, SPEC, settings(generator=small), 256, CPU)
    assert not torch.equal(first, other)
