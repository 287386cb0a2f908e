"""FastDFKD: what a start is moved along, told from the equations, and what stays of a batch."""

import copy

import pytest
import torch
from torch import Tensor

from fusion.assembly import build_party, build_student, student_spec
from fusion.meta import MetaGradient, MetaInversion
from fusion.method import Synthesis
from fusion.methods import Fast
from fusion.party import Party
from tests.tiny import CPU, teacher, without_warmup


def party_of(method: Fast) -> Party:
    party = build_party(0, 1, teacher(0), without_warmup(method), CPU, student_spec([teacher(0)]))
    party.begin_iteration(0, build_student([teacher(0)], without_warmup(method), CPU).as_critic(0))
    return party


def maker(party: Party) -> MetaInversion:
    assert isinstance(party.synthesiser, MetaInversion)
    return party.synthesiser


def weights(module: torch.nn.Module) -> list[Tensor]:
    return [one.detach().clone() for one in module.parameters()]


def test_after_one_step_from_the_start_the_sum_takes_the_start_to_where_the_copy_is() -> None:
    party = party_of(Fast(inversion_steps=1, bank_images=12, meta_gradient="sum"))
    before = weights(maker(party).generator)
    party.update_generator()
    start, end = weights(maker(party).generator), weights(maker(party)._copy)
    assert all(torch.equal(one, other) for one, other in zip(start, end, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(start, before, strict=True))


@pytest.mark.parametrize("kind", ["sum", "difference"])
def test_the_start_moves_along_the_sum_of_the_gradients_or_the_way_of_the_copy(kind: MetaGradient) -> None:
    party = party_of(Fast(inversion_steps=3, bank_images=12, meta_gradient=kind))
    made = maker(party)
    before, seen = weights(made.generator), list[list[Tensor]]()
    minimise = party._minimise

    def noting(*arguments: object) -> Tensor:
        found = minimise(*arguments)  # type: ignore[arg-type]
        seen.append([one.grad.clone() for one in made._copy.parameters() if one.grad is not None])
        return found

    party._minimise = noting  # type: ignore[assignment, method-assign]
    reference = copy.deepcopy(made.generator)
    party.update_generator()
    assert len(seen) == 3
    if kind == "sum":
        along = [sum(of_one[1:], start=of_one[0]) for of_one in zip(*seen, strict=True)]
    else:
        along = [one - end for one, end in zip(before, weights(made._copy), strict=True)]
    adam = torch.optim.Adam(reference.parameters(), lr=3 * 1e-3, betas=(0.5, 0.999))
    for one, gradient in zip(reference.parameters(), along, strict=True):
        one.grad = gradient
    adam.step()
    for ours, theirs in zip(weights(made.generator), weights(reference), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_start_that_every_copy_comes_back_to_does_not_move_along_the_way() -> None:
    party = party_of(Fast(inversion_steps=2, bank_images=12, meta_gradient="difference"))
    made = maker(party)
    before = weights(made.generator)

    def minimise(synthesis: Synthesis, *_: object) -> Tensor:
        for one in made._copy.parameters():
            one.grad = torch.ones_like(one)
        return synthesis.teacher_logits.detach().mean()

    made.update(torch.Generator().manual_seed(0), party._examine, minimise)
    assert all(torch.equal(one, other) for one, other in zip(before, weights(made.generator), strict=True))


def test_each_batch_begins_at_the_start_with_noise_of_its_own() -> None:
    party = party_of(Fast(inversion_steps=2, inversion_every=1, bank_images=30))
    made, student = maker(party), build_student([teacher(0)], without_warmup(Fast()), CPU).as_critic(0)
    noises: list[Tensor] = []
    starts: list[list[Tensor]] = []

    def note(_: object, inputs: tuple[Tensor]) -> None:
        noises.append(inputs[0].detach().clone())
        starts.append(weights(made._copy))

    made._copy.register_forward_pre_hook(note)  # type: ignore[arg-type]
    for iteration in range(2):
        before = weights(made.generator)
        party.begin_iteration(iteration, student)
        party.update_generator()
        assert all(torch.equal(one, other) for one, other in zip(before, starts[-2], strict=True))
    assert not torch.equal(noises[0], noises[2])
    moved = (noises[1] - noises[0]).abs()
    assert moved.max() == pytest.approx(0.01, rel=1e-3)  # Adam's first step is its learning rate.
    assert made.bank.filled() == 24


def test_the_teacher_takes_the_images_for_the_drawn_classes() -> None:
    party = party_of(Fast(inversion_steps=40, bank_images=12, bn_weight=0, adv_weight=0))
    seen: list[float] = []
    original = party.meter.add

    def add(values: dict[str, Tensor], prefix: str = "") -> None:
        seen.append(float(values["ice"]))
        original(values, prefix)

    party.meter.add = add  # type: ignore[assignment, method-assign]
    party.update_generator()
    assert len(seen) == 40
    assert seen[-1] < seen[0]
