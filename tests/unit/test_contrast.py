"""CMI's losses, views and inversion: told from the equations, and what a party keeps of it."""

import copy
import math

import pytest
import torch
from torch import Tensor

from fusion import algorithm, losses
from fusion.assembly import build_party, build_student, student_spec
from fusion.augmentation import padded_crop
from fusion.contrast import ContrastiveInversion, ProjectionHead
from fusion.methods import Cmi, CmiGa, Method
from fusion.party import Party
from tests.tiny import CPU, SPEC, teacher, without_warmup

QUICK = {"inversion_steps": 3, "inversion_every": 1, "bank_images": 30}


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def party_of(method: Method) -> Party:
    return build_party(0, 2, teacher(0), without_warmup(method), CPU, student_spec([teacher(0)]))


def maker(party: Party) -> ContrastiveInversion:
    assert isinstance(party.synthesiser, ContrastiveInversion)
    return party.synthesiser


def test_contrast_is_zero_for_images_that_are_told_apart_and_log_count_for_equal_ones() -> None:
    apart = torch.eye(5)
    assert losses.contrastive(apart, apart, 5, temperature=0.01) == pytest.approx(0.0, abs=1e-6)
    alike = torch.ones(5, 1)
    assert losses.contrastive(alike, alike, 5, temperature=0.1) == pytest.approx(math.log(5))
    # The new images' mean and the earlier images' mean, added.
    assert losses.contrastive(alike, alike, 2, temperature=0.1) == pytest.approx(2 * math.log(5))
    swapped = torch.eye(2)
    assert losses.contrastive(swapped, swapped.flip(0), 2, temperature=0.1) > 9.9


def test_contrast_is_the_cross_entropy_of_the_similarities() -> None:
    local, whole = (torch.nn.functional.normalize(torch.randn(7, 3, generator=stream(i))) for i in (1, 2))
    powers = (local @ whole.T / 0.2).exp()
    each = -(powers.diagonal() / powers.sum(dim=1)).log()
    expected = each[:4].mean() + each[4:].mean()
    torch.testing.assert_close(losses.contrastive(local, whole, 4, temperature=0.2), expected)


def test_contrast_moves_the_local_views_alone() -> None:
    local, whole = (torch.randn(3, 2, generator=stream(i)).requires_grad_() for i in (1, 2))
    losses.contrastive(local, whole, 3, temperature=1.0).backward()
    assert local.grad is not None
    assert whole.grad is None


def test_an_adversary_of_agreement_gains_nothing_where_the_classes_differ_already() -> None:
    teacher = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    critic = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    value = losses.agreeing_adversarial(teacher, critic, tau=1.0)
    first = losses.soft_label_kl(teacher[:1], critic[:1], tau=1.0)
    assert first > 0
    torch.testing.assert_close(value, -first / 2)
    assert losses.agreeing_adversarial(teacher, teacher, tau=1.0) == pytest.approx(0.0, abs=1e-7)
    torch.testing.assert_close(
        losses.agreeing_adversarial(teacher, 0.1 * teacher, tau=2.0),
        losses.adversarial(teacher, 0.1 * teacher, tau=2.0),
    )


def test_a_padded_crop_is_a_shift_with_black_coming_in_and_sometimes_a_mirror() -> None:
    images = torch.rand(40, 2, 6, 6, generator=stream())
    crops = padded_crop(images, 1, stream(3))
    seen = set()
    for image, crop in zip(images, crops, strict=True):
        padded = torch.nn.functional.pad(image, [1] * 4)
        matches = {cut[:3] for cut in cuts(padded) if torch.equal(crop, cut[3])}
        assert len(matches) == 1
        seen |= matches
    assert len(seen) > 10
    assert torch.equal(padded_crop(images, 1, stream(3)), crops)


def cuts(padded: Tensor) -> list[tuple[int, int, bool, Tensor]]:
    """Every square of size 6, both ways round."""
    return [
        (top, left, mirrored, torch.flip(cut, [2]) if mirrored else cut)
        for top in range(3)
        for left in range(3)
        for cut in [padded[:, top : top + 6, left : left + 6]]
        for mirrored in (False, True)
    ]


def test_embeddings_have_length_one() -> None:
    embeddings = ProjectionHead(5, 3)(torch.randn(7, 5, generator=stream()))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(7))


def test_the_teacher_takes_inverted_images_for_the_drawn_classes_and_they_can_be_told_apart() -> None:
    method = CmiGa(inversion_steps=40, bank_images=30, adv_weight=0, bn_weight=0)
    party = party_of(method)
    seen: list[dict[str, float]] = []
    original = party.meter.add

    def add(values: dict[str, Tensor], prefix: str = "") -> None:
        seen.append({name: float(value) for name, value in values.items()})
        original(values, prefix)

    party.meter.add = add  # type: ignore[assignment, method-assign]
    party.begin_iteration(0)
    party.update_generator()
    assert len(seen) == 40
    assert seen[-1]["ice"] < seen[0]["ice"]
    assert seen[-1]["cr"] < seen[0]["cr"]
    bank = maker(party).bank
    assert bank.filled() == 12
    assert bank.features[:12].abs().sum() > 0


def test_the_bank_keeps_the_images_with_the_smallest_objective() -> None:
    """What the updates say they found is made up: the third of four is the best."""
    party = party_of(CmiGa(**{**QUICK, "inversion_steps": 4}))  # type: ignore[arg-type]
    party.begin_iteration(0)
    made: list[Tensor] = []
    generator = maker(party)._generator
    generator.register_forward_hook(lambda _, __, images: made.append(images.detach()))  # type: ignore[arg-type]
    found = iter([3.0, 2.0, 1.0, 5.0])

    def minimise(*_: object) -> Tensor:
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.add_(0.05)
        return torch.tensor(next(found))

    maker(party).update(stream(), party._examine, minimise)
    kept = maker(party).bank.images[:12].float()
    torch.testing.assert_close(kept, made[2], atol=2e-3, rtol=2e-3)
    assert not torch.allclose(kept, made[3], atol=2e-3, rtol=2e-3)


def test_every_batch_has_a_fresh_generator_and_the_head_learns_on() -> None:
    party = party_of(CmiGa(**QUICK))  # type: ignore[arg-type]
    heads, generators = [], list[Tensor]()
    inner = maker(party)._generator
    original = inner.load_state_dict

    def load(state: dict[str, Tensor]) -> None:
        generators.append(state["linear.weight"])
        original(state)

    inner.load_state_dict = load  # type: ignore[assignment, method-assign]
    for iteration in range(2):
        party.begin_iteration(iteration)
        party.update_generator()
        heads.append(copy.deepcopy(maker(party).head.state_dict()))
    assert not torch.equal(heads[0]["embed.weight"], heads[1]["embed.weight"])
    assert not torch.equal(generators[0], generators[1])
    party.begin_iteration(0)
    party.update_generator()
    assert torch.equal(generators[2], generators[0])


def test_the_critic_of_cmi_is_the_student_and_that_of_cmi_ga_the_assistant() -> None:
    teachers = [teacher(0), teacher(1)]
    choices: list[Method] = [Cmi(**QUICK), CmiGa(**QUICK)]  # type: ignore[arg-type]
    for method in choices:
        roles = {"bank", "head"} | ({"assistant", "vid"} if method.name == "cmi_ga" else set())
        wanted = without_warmup(method)
        spec = student_spec(teachers)
        parties = [build_party(index, 2, one, wanted, CPU, spec) for index, one in enumerate(teachers)]
        student = build_student(teachers, wanted, CPU)
        assert set(parties[0].modules()) == roles
        assert (student.as_critic(0) is None) == (method.name == "cmi_ga")
        algorithm.fuse(parties, student, wanted.schedule)
        assert parties[0].meter.take()["generator/adv"] <= 0


def test_images_travel_as_pixels_of_the_bank() -> None:
    party = party_of(CmiGa(**QUICK))  # type: ignore[arg-type]
    images = party.step(0)
    kept = maker(party).bank.images[:12].float().flatten(1)
    distances = torch.cdist(images.flatten(0, 1).flatten(1), kept).min(dim=1).values
    assert images.shape == (2, 6, SPEC.channels, SPEC.size, SPEC.size)
    assert distances.max() == 0


def test_new_images_are_told_from_as_many_earlier_ones_as_the_settings_say() -> None:
    party = party_of(CmiGa(**QUICK, contrast_images=5))  # type: ignore[arg-type]
    bank, features = maker(party).bank, torch.rand(12, 2, 32, generator=stream())
    assert [one.shape for one in maker(party)._embed(features, stream())] == [(12, 128)] * 2
    party.step(0)
    local, whole = maker(party)._embed(features, stream(1))
    assert local.shape == whole.shape == (17, 128)
    earlier = bank.features[bank.draw(5, stream(1))].float()
    torch.testing.assert_close(local[12:], maker(party).head(earlier[:, 0]))
    torch.testing.assert_close(whole[:12], maker(party).head(features[:, 1]))
