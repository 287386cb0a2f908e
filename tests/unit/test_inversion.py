"""Banks of images and the inversions that fill them, and the losses that only these have."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fusion import losses
from fusion.assembly import build_party, build_student, student_spec
from fusion.bank import ImageBank
from fusion.batchnorm import BnWatch
from fusion.methods import AdaptiveDeepInversion, DeepInversion, Method
from fusion.networks import frozen
from fusion.party import Party
from fusion.state import put_state, take_state
from fusion.synthesis import held_out_images
from orchestrator.errors import UserError
from orchestrator.finished_runs import FinishedRun
from orchestrator.loading import parse_config
from tests.tiny import CPU, SPEC, teacher, tiny_run, without_warmup


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(first: int, count: int) -> Tensor:
    """Images that are all of one value each: 1, 2, ..."""
    return torch.arange(first, first + count).float().view(-1, 1, 1, 1).expand(-1, 1, 8, 8)


def party_of(method: Method) -> Party:
    return build_party(0, 2, teacher(0), without_warmup(method), CPU)


def held(party: Party) -> ImageBank:
    bank = party.modules()["bank"]
    assert isinstance(bank, ImageBank)
    return bank


def test_a_bank_keeps_the_newest_images_with_their_features() -> None:
    bank = ImageBank(5, SPEC, (2, 3))
    assert bank.filled() == 0
    assert bank.sample(4, stream()).shape == (0, 1, 8, 8)
    for first in (1, 4, 7):
        values = torch.arange(first, first + 3).float()
        bank.add(numbered(first, 3), values.view(-1, 1, 1).expand(-1, 2, 3))
    assert bank.filled() == 5
    assert sorted(bank.images[:, 0, 0, 0].tolist()) == [5, 6, 7, 8, 9]
    assert torch.equal(bank.images[:, 0, 0, 0], bank.features[:, 1, 2])


def test_draws_of_a_bank_have_no_image_twice_and_are_functions_of_the_stream() -> None:
    bank = ImageBank(10, SPEC)
    bank.add(numbered(1, 6))
    drawn = bank.sample(6, stream(1))
    assert sorted(drawn[:, 0, 0, 0].tolist()) == [1, 2, 3, 4, 5, 6]
    assert drawn.dtype == torch.float32
    assert torch.equal(drawn, bank.sample(6, stream(1)))
    assert not torch.equal(drawn, bank.sample(6, stream(2)))


def test_a_bank_is_finer_than_eight_bits() -> None:
    bank, images = ImageBank(50, SPEC), torch.rand(50, 1, 8, 8, generator=stream())
    bank.add(images)
    assert (bank.images.float() - images).abs().max() < 0.5 / 255 / 7


def test_a_banks_state_is_all_of_it() -> None:
    bank, other = ImageBank(5, SPEC), ImageBank(5, SPEC)
    bank.add(numbered(1, 3))
    bank.add(numbered(4, 3))
    put_state(take_state({"bank": bank}, {}), {"bank": other}, {})
    for one in (bank, other):
        one.add(numbered(7, 1))
    assert torch.equal(bank.images, other.images)
    with pytest.raises(ValueError, match=r"bank/images is torch.float16 \[5, 1, 8, 8\], not"):
        put_state(take_state({"bank": bank}, {}), {"bank": ImageBank(6, SPEC)}, {})


def test_label_loss_is_zero_only_for_certainty_of_the_label() -> None:
    labels = torch.tensor([0, 2])
    certain = 1e3 * nn.functional.one_hot(labels, 3).float()
    assert losses.label_loss(certain, labels) == 0.0
    assert losses.label_loss(torch.zeros(2, 3), labels) == pytest.approx(math.log(3))
    assert losses.label_loss(certain, labels.flip(0)) > 100
    logits = torch.randn(2, 3, generator=stream())
    expected = -(logits[0].softmax(0)[0].log() + logits[1].softmax(0)[2].log()) / 2
    torch.testing.assert_close(losses.label_loss(logits, labels), expected)


def test_total_variation_is_zero_for_flat_images_and_grows_with_any_edge() -> None:
    assert losses.total_variation(torch.full((3, 2, 4, 4), 0.7)) == 0.0
    dot = torch.zeros(1, 1, 3, 3)
    dot[0, 0, 1, 1] = 2.0
    assert losses.total_variation(dot) == pytest.approx(4 * math.sqrt(2 * 2.0**2))  # Two pairs a direction.
    assert losses.total_variation(-dot) == losses.total_variation(dot)


def test_the_norm_of_images_is_zero_for_none_but_zeros() -> None:
    assert losses.image_norm(torch.zeros(2, 1, 2, 2)) == 0.0
    assert losses.image_norm(torch.tensor([3.0, -4.0]).view(2, 1, 1, 1)) == 5.0


def test_moments_are_zero_apart_only_where_they_are_equal() -> None:
    mean, variance = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 4.0])
    assert losses.moment_distance(mean, variance, mean, variance) == 0.0
    apart = losses.moment_distance(mean, variance, torch.tensor([4.0, 6.0]), torch.tensor([0.5, 2.0]))
    assert apart == 5.0 + 2.0


def test_distances_are_those_of_the_biased_moments_of_each_layers_input() -> None:
    classifier = frozen(teacher().build())
    images, expected = torch.rand(12, 1, 8, 8, generator=stream()), []

    def note(layer: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        assert layer.running_mean is not None
        assert layer.running_var is not None
        flat = inputs[0].double().transpose(0, 1).flatten(1)
        apart = (flat.mean(1) - layer.running_mean).square().sum().sqrt()
        expected.append(apart + (flat.var(1, correction=0) - layer.running_var).square().sum().sqrt())

    hooks = [
        module.register_forward_pre_hook(note)  # type: ignore[arg-type]
        for module in classifier.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    classifier(images)
    for hook in hooks:
        hook.remove()
    _, divergences = BnWatch(classifier, "distance")(images)
    assert len(divergences) == len(expected) > 3
    torch.testing.assert_close(torch.stack(divergences).view(-1), torch.stack(expected).float())


def test_an_inversion_comes_every_so_many_iterations_and_the_bank_is_bounded() -> None:
    party = party_of(DeepInversion(inversion_steps=1, inversion_every=2, bank_images=20))
    bank = held(party)
    counts = []
    for iteration in range(4):
        images = party.step(iteration)
        assert images.shape == (2, 6, 1, 8, 8)
        counts.append(int(bank.count))
    assert counts == [12, 12, 24, 24]
    assert bank.filled() == 20


def test_a_smaller_batch_is_handed_out_again_and_again_until_the_bank_holds_enough() -> None:
    party = party_of(DeepInversion(inversion_steps=1, inversion_every=1, inversion_batch=4, bank_images=20))
    examined: list[int] = []
    watched = party.watched_teacher
    watched.register_forward_pre_hook(lambda _, images: examined.append(len(images[0])))
    for iteration, expected in enumerate([[1, 1, 2, 2], [1] * 6]):  # Six images of four, and of eight.
        for images in party.step(iteration):
            assert images.shape == (6, 1, 8, 8)
            _, counts = images.flatten(1).unique(dim=0, return_counts=True)
            assert sorted(counts.tolist()) == expected
    assert examined == [4, 4]
    assert held(party).filled() == 8


def test_a_batch_of_as_many_images_as_the_schedules_is_what_there_is_without_the_option() -> None:
    states = []
    for batch in (None, 12):
        party = party_of(DeepInversion(inversion_steps=1, inversion_batch=batch, bank_images=20))
        images = party.step(0)
        states.append({**party.state(), "images": images})
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_inverted_pixels_show_the_drawn_classes_and_stay_between_black_and_white() -> None:
    steps = 60
    party = party_of(DeepInversion(inversion_steps=steps, bank_images=12, bn_weight=0, jitter=0))
    seen: list[float] = []
    original = party.meter.add

    def add(values: dict[str, Tensor], prefix: str = "") -> None:
        seen.append(float(values["ice"]))
        original(values, prefix)

    party.meter.add = add  # type: ignore[assignment, method-assign]
    party.begin_iteration(0)
    party.update_generator()
    assert len(seen) == party.updates == steps
    assert seen[-1] < 0.8 * seen[0]
    images = held(party).images
    assert images.min() >= 0
    assert images.max() <= 1
    assert len(images.float().flatten(1).unique(dim=0)) == 12


def test_without_weights_an_inversion_leaves_the_pixels_to_the_label_alone() -> None:
    """The gradient of the first update, by hand: Adam moves each pixel by the rate against its sign."""
    method = DeepInversion(
        inversion_steps=1, bn_weight=0, tv_weight=0, l2_weight=0, jitter=0, image_lr=0.01, bank_images=12
    )
    party = party_of(method)
    party.begin_iteration(0)
    draws = torch.Generator().set_state(party._noise.get_state())
    inputs = torch.randn(12, 1, 8, 8, generator=draws).requires_grad_()
    labels = torch.randint(4, (12,), generator=draws)
    logits = party.teacher(inputs * 0.4 + 0.3).logits
    nn.functional.cross_entropy(logits, labels).backward()
    assert inputs.grad is not None
    moved = (inputs.detach() - 0.01 * inputs.grad / (inputs.grad.abs() + 1e-8)) * 0.4 + 0.3
    party.update_generator()
    torch.testing.assert_close(held(party).images.float(), moved.clamp(0, 1), atol=1e-3, rtol=1e-3)


def test_competition_finds_images_of_which_the_student_says_something_else() -> None:
    disagreements = []
    for weight in (0.0, 100.0):
        method = AdaptiveDeepInversion(
            inversion_steps=40, bank_images=12, bn_weight=0, jitter=0, compete_weight=weight
        )
        known = student_spec([teacher(0)])
        party = build_party(0, 1, teacher(0), without_warmup(method), CPU, known)
        party.begin_iteration(0, build_student([teacher(0)], without_warmup(method), CPU).as_critic(0))
        party.update_generator()
        assert party.critic is not None
        images = held(party).images.float()
        with torch.no_grad():
            told, judged = (one.eval()(images).logits for one in (party.teacher, party.critic))
        disagreements.append(1 - float(losses.competitive(told, judged, tau=3.0)))
    assert disagreements[1] > 1.2 * disagreements[0]


def test_a_rewind_halves_the_learning_rate_of_the_pixels() -> None:
    method = DeepInversion(inversion_steps=1, bank_images=12)
    rates = []
    for rewinds in (0, 2):
        party = build_party(0, 2, teacher(0), without_warmup(method, rewinds=rewinds), CPU)
        rates.append(party.synthesiser._lr)  # type: ignore[attr-defined]
    assert rates == [0.1, 0.025]


def test_the_images_of_a_finished_party_are_those_of_its_bank() -> None:
    party = party_of(DeepInversion(inversion_steps=1, bank_images=20))
    party.step(0)
    (bank,) = party.modules().values()
    images = held_out_images([bank.state_dict()], [SPEC], without_warmup(DeepInversion()))
    assert images.shape == (12, 1, 8, 8)
    kept = (held(party).images[:12].float() * 255).round().to(torch.uint8)
    assert torch.equal(images.flatten(1).unique(dim=0), kept.flatten(1).unique(dim=0))


def test_a_preview_of_an_empty_bank_is_black() -> None:
    party = party_of(DeepInversion(inversion_steps=1, bank_images=12))
    assert torch.equal(party.preview(3), torch.zeros(3, 1, 8, 8))
    party.step(0)
    before = party.state()
    assert party.preview(3).amax(dim=(1, 2, 3)).min() > 0
    assert all(torch.equal(before[name], value) for name, value in party.state().items())


def test_the_images_of_a_finished_run_are_read_from_its_banks(tmp_path: Path) -> None:
    party = party_of(DeepInversion(inversion_steps=1, bank_images=20))
    party.step(0)
    (bank,) = party.modules().values()
    for index in range(2):
        (tmp_path / "parties" / f"party-{index}").mkdir(parents=True)
        save_file(bank.state_dict(), tmp_path / "parties" / f"party-{index}" / "bank.safetensors")
    tree = tiny_run(method={"name": "deepinversion"}, schedule={"warmup_epochs": 0})
    run = FinishedRun(folder=tmp_path, config=parse_config(tree, "run"), summary={})
    first, second = run.images([teacher(0), teacher(1)])
    assert first.shape == second.shape == (12, 1, 8, 8)
    damaged = tmp_path / "parties" / "party-1" / "bank.safetensors"
    save_file({"linear.weight": torch.zeros(2, 2)}, damaged)
    with pytest.raises(UserError, match=r"not the weights of the banks that config.yaml describes"):
        run.images([teacher(0), teacher(1)])
    damaged.unlink()
    with pytest.raises(UserError, match=r"party-1/bank.safetensors: no such file"):
        run.images([teacher(0), teacher(1)])
