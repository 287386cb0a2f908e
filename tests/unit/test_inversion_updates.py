"""What makes the methods that invert what they are: shifted images, the best kept, learnt starts, views."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from fusion.assembly import build_party, build_student, student_spec
from fusion.methods import Cmi, DeepInversion, Fast, Nayer
from fusion.synthesiser import Synthesis
from tests.tiny import CPU, teacher, without_warmup


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)


MODULES = {"cmi": "contrast", "fast": "meta", "nayer": "noisy"}
INVERSIONS = [one(inversion_steps=4, bank_images=12) for one in (Cmi, Fast, Nayer)]


def party_of(method: Any) -> Any:
    wanted = without_warmup(method)
    party = build_party(0, 1, teacher(0), wanted, CPU, student_spec([teacher(0)]))
    party.begin_iteration(0, build_student([teacher(0)], wanted, CPU).as_critic(0))
    return party


@pytest.mark.parametrize("method", INVERSIONS, ids=MODULES)
def test_the_teacher_looks_at_shifted_images(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    party, seen = party_of(method), list[Tensor]()
    examine = party._examine
    party._examine = lambda images: (seen.append(images.detach()), examine(images))[1]
    monkeypatch.setattr(
        f"fusion.{MODULES[method.name]}.padded_crop", lambda images, padding, _: images * 0 + padding
    )
    party.update_generator()
    assert len(seen) == 4
    assert all(bool((one == 1).all()) for one in seen)


@pytest.mark.parametrize("method", INVERSIONS, ids=MODULES)
def test_the_bank_keeps_the_images_with_the_smallest_objective(method: Any) -> None:
    party, made = party_of(method), list[Tensor]()
    maker = party.synthesiser
    inner = {"cmi": "_generator", "fast": "_copy", "nayer": "generator"}[method.name]
    generator = getattr(maker, inner)
    generator.register_forward_hook(lambda _, __, images: made.append(images.detach()))
    found = iter([3.0, 2.0, 1.0, 5.0])

    def minimise(*_: object) -> Tensor:
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.add_(0.05)
                parameter.grad = torch.zeros_like(parameter)
        return torch.tensor(next(found))

    maker.update(stream(), party._examine, minimise)
    torch.testing.assert_close(maker.bank.images.float(), made[2], atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("method", INVERSIONS, ids=MODULES)
def test_what_a_generator_starts_from_is_learnt_with_it(method: Any) -> None:
    party, taken = party_of(method), list[Tensor]()
    inner = {"cmi": "_generator", "fast": "_copy", "nayer": "generator"}[method.name]
    getattr(party.synthesiser, inner).register_forward_pre_hook(
        lambda _, x: taken.append(x[0].detach().clone())
    )
    party.update_generator()
    assert len(taken) == 4
    assert not any(torch.equal(one, other) for one, other in itertools.pairwise(taken))


def test_the_first_view_is_of_a_part_and_the_second_of_the_whole() -> None:
    party, seen, said = party_of(Cmi(inversion_steps=1, bank_images=12)), list[Tensor](), list[Tensor]()
    maker = party.synthesiser
    embed, examine = maker._embed, party._examine
    maker._embed = lambda features, draws: (seen.append(features), embed(features, draws))[1]
    party._examine = lambda images: (found := examine(images), said.append(found.teacher_features))[0]
    party.update_generator()
    torch.testing.assert_close(seen[0][:, 1], said[0].mean(dim=(2, 3)))


def test_pixels_are_shifted_before_they_are_judged_and_judged_as_the_networks_inputs() -> None:
    party = party_of(DeepInversion(inversion_steps=3, bank_images=12, jitter=2))
    images: list[Tensor] = []
    inputs: list[Tensor] = []

    def minimise(synthesis: Synthesis, *_: object) -> Tensor:
        inputs.append(synthesis.inputs.detach())
        return torch.tensor(0.0)

    examine = party._examine
    party.synthesiser.update(stream(), lambda x: (images.append(x.detach()), examine(x))[1], minimise)
    draws = stream()
    noise = torch.randn(12, 1, 8, 8, generator=draws)
    torch.randint(4, (12,), generator=draws)
    shifts = torch.randint(-2, 3, (3, 2), generator=draws).tolist()
    assert shifts[0] != [0, 0]
    torch.testing.assert_close(inputs[0], noise.roll(shifts[0], dims=(2, 3)))
    for shown, judged in zip(images, inputs, strict=True):
        torch.testing.assert_close(shown, judged * 0.4 + 0.3)
