"""Every loss against an independent computation, its sign, and its zero."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Normal, kl_divergence

from fusion import losses
from fusion.batchnorm import BnWatch, bn_divergence
from fusion.vid import Vid

STREAM = torch.Generator().manual_seed(0)


def logits(count: int = 5, classes: int = 7, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(count, classes, generator=STREAM)


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_soft_label_kl_agrees_with_torch_distributions(tau: float) -> None:
    teacher, learner = logits(), logits()
    expected = kl_divergence(Categorical(logits=teacher / tau), Categorical(logits=learner / tau)).mean()
    torch.testing.assert_close(losses.soft_label_kl(teacher, learner, tau=tau), expected)


def test_soft_label_kl_is_zero_only_for_equal_predictions() -> None:
    teacher = logits()
    assert losses.soft_label_kl(teacher, teacher + 2.0, tau=3.0).abs() < 1e-6
    assert losses.soft_label_kl(teacher, logits(), tau=3.0) > 0.01


def test_distillation_averages_probabilities_and_takes_one_divergence() -> None:
    teachers, student, weights = [logits(), logits()], logits(), [0.25, 0.75]
    mixture = sum(w * (t / 3).softmax(1) for w, t in zip(weights, teachers, strict=True))
    expected = kl_divergence(Categorical(probs=mixture), Categorical(logits=student / 3)).mean()
    found = losses.distillation(teachers, student, weights, tau=3.0)
    torch.testing.assert_close(found, expected)
    mean_of_divergences = sum(
        w * losses.soft_label_kl(t, student, tau=3.0) for w, t in zip(weights, teachers, strict=True)
    )
    assert (found - mean_of_divergences).abs() > 0.01


def test_distillation_from_one_teacher_is_the_divergence_from_it() -> None:
    teacher, student = logits(), logits()
    torch.testing.assert_close(
        losses.distillation([teacher], student, [1.0], tau=3.0),
        losses.soft_label_kl(teacher, student, tau=3.0),
    )


def test_a_weight_of_zero_leaves_its_teacher_out() -> None:
    teacher, student = logits(), logits()
    torch.testing.assert_close(
        losses.distillation([teacher, logits()], student, [1.0, 0.0], tau=3.0),
        losses.soft_label_kl(teacher, student, tau=3.0),
    )


def test_gaussian_kl_agrees_with_torch_distributions_and_with_equation_4() -> None:
    mean, var, target_mean, target_var = torch.rand(4, 6, generator=STREAM) + 0.5
    found = losses.gaussian_kl(mean, var, target_mean, target_var)
    torch.testing.assert_close(
        found, kl_divergence(Normal(mean, var.sqrt()), Normal(target_mean, target_var.sqrt()))
    )
    printed = (
        ((mean - target_mean) ** 2 + var) / (2 * target_var) - (var.sqrt() / target_var.sqrt()).log() - 0.5
    )
    torch.testing.assert_close(found, printed)
    assert (losses.gaussian_kl(mean, var, mean, var).abs() < 1e-6).all()


def test_instance_entropy_is_zero_for_certain_and_log_classes_for_uniform_predictions() -> None:
    certain = 100.0 * torch.eye(4)
    assert losses.instance_entropy(certain).abs() < 1e-6
    torch.testing.assert_close(losses.instance_entropy(torch.zeros(3, 8)), torch.tensor(math.log(8)))
    some = logits()
    torch.testing.assert_close(losses.instance_entropy(some), Categorical(logits=some).entropy().mean())


def test_negative_batch_entropy_is_lowest_for_a_balanced_batch() -> None:
    balanced, collapsed = 100.0 * torch.eye(4), 100.0 * torch.eye(4)[[0, 0, 0, 0]]
    torch.testing.assert_close(losses.negative_batch_entropy(balanced), torch.tensor(-math.log(4)))
    assert losses.negative_batch_entropy(collapsed).abs() < 1e-6
    some = logits()
    expected = -Categorical(probs=some.softmax(1).mean(0)).entropy()
    torch.testing.assert_close(losses.negative_batch_entropy(some), expected)


def test_adversarial_is_minus_the_divergence() -> None:
    teacher, critic = logits(), logits()
    found = losses.adversarial(teacher, critic, tau=3.0)
    assert found < 0
    torch.testing.assert_close(found, -losses.soft_label_kl(teacher, critic, tau=3.0))
    assert losses.adversarial(teacher, teacher, tau=3.0).abs() < 1e-6


def test_disagreements_are_the_adversarial_losses_of_the_batches() -> None:
    teachers, critics = torch.randn(2, 3, 5, 4, generator=STREAM)
    each = [losses.adversarial(*pair, tau=3.0) for pair in zip(teachers, critics, strict=True)]
    torch.testing.assert_close(losses.disagreements(teachers, critics, tau=3.0), torch.stack(each))
    assert losses.disagreements(teachers, teachers, tau=3.0).abs().max() < 1e-6


def test_competitive_is_one_minus_the_jensen_shannon_divergence() -> None:
    teacher, critic = logits(), logits()
    middle = Categorical(probs=((teacher / 3).softmax(1) + (critic / 3).softmax(1)) / 2)
    sides = [kl_divergence(Categorical(logits=one / 3), middle).mean() for one in (teacher, critic)]
    found = losses.competitive(teacher, critic, tau=3.0)
    torch.testing.assert_close(found, 1 - (sides[0] + sides[1]) / 2)
    torch.testing.assert_close(losses.competitive(critic, teacher, tau=3.0), found)


def test_competitive_is_one_for_agreement_and_lowest_for_certain_disagreement() -> None:
    teacher, critic = logits(), logits()
    assert losses.competitive(teacher, teacher + 2.0, tau=3.0) == pytest.approx(1.0, abs=1e-6)
    assert losses.competitive(teacher, critic, tau=3.0) < 0.99
    certain = 1e4 * torch.eye(4)
    assert losses.competitive(certain, certain.flip(0), tau=3.0) == pytest.approx(1 - math.log(2))


def test_the_gradient_of_competitive_leads_away_from_agreement() -> None:
    teacher, critic = logits().requires_grad_(), logits().requires_grad_()
    found = losses.competitive(teacher, critic, tau=3.0)
    found.backward()
    assert teacher.grad is not None
    assert critic.grad is not None
    moved = losses.competitive(teacher - teacher.grad, critic - critic.grad, tau=3.0)
    assert moved < found


def test_one_hot_loss_is_the_cross_entropy_to_the_first_choice_and_zero_only_for_certain_predictions() -> (
    None
):
    logits = 3 * torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    first = torch.softmax(logits, dim=1).max(dim=1).values
    torch.testing.assert_close(losses.one_hot_loss(logits), -first.log().mean())
    assert losses.one_hot_loss(logits) > 0
    assert losses.one_hot_loss(200 * torch.eye(5)) == 0
    assert losses.one_hot_loss(torch.zeros(2, 5)) == pytest.approx(math.log(5))


def test_negative_activation_is_zero_for_a_dead_map_and_falls_with_any_activation() -> None:
    maps = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    pooled = nn.functional.adaptive_avg_pool2d(maps, 1).flatten(1)
    torch.testing.assert_close(losses.negative_activation(maps), -pooled.norm(p=1, dim=1).mean() / 4)
    assert losses.negative_activation(torch.zeros(3, 4, 2, 2)) == 0
    assert losses.negative_activation(maps) < 0
    torch.testing.assert_close(losses.negative_activation(-2 * maps), 2 * losses.negative_activation(maps))


def test_gaussian_nll_and_its_gradients_agree_with_torch() -> None:
    prediction, target = torch.randn(2, 3, 4, 5, 5, generator=STREAM)
    variance = torch.rand(4, generator=STREAM) + 0.1
    learned = [prediction.requires_grad_(), target.requires_grad_(), variance.requires_grad_()]
    expected = nn.GaussianNLLLoss(reduction="none")(
        prediction, target, variance.view(1, -1, 1, 1).expand_as(target).contiguous()
    ).mean(dim=(0, 2, 3))
    found = losses.gaussian_nll(prediction, target, variance)
    torch.testing.assert_close(found, expected)
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0])
    torch.testing.assert_close(
        torch.autograd.grad(found, learned, weights), torch.autograd.grad(expected, learned, weights)
    )


def test_gaussian_nll_is_zero_for_a_perfect_prediction_of_variance_one_and_greater_for_any_error() -> None:
    target = torch.randn(2, 3, 4, 4, generator=STREAM)
    one = torch.ones(3)
    assert not losses.gaussian_nll(target, target, one).any()
    for error in (0.1, -0.1, 2.0):
        wrong = target.clone()
        wrong[1, 2, 3, 0] += error  # Of one number among 96.
        expected = torch.tensor([0.0, 0.0, 0.5 * error**2 / (target.numel() / 3)])
        torch.testing.assert_close(losses.gaussian_nll(wrong, target, one), expected)


def test_gaussian_nll_is_least_where_the_variance_is_the_squared_error() -> None:
    target, error = torch.randn(2, 3, 4, 4, generator=STREAM), 0.5
    small, fitting, large = (
        losses.gaussian_nll(target + error, target, torch.full((3,), variance)).mean()
        for variance in (0.2, error**2, 0.3)
    )
    assert small > fitting < large
    torch.testing.assert_close(fitting, torch.tensor(0.5 + math.log(error)))
    sure, unsure = (losses.gaussian_nll(target, target, torch.full((3,), one)).mean() for one in (0.5, 2.0))
    assert sure < 0 < unsure


def test_vid_without_an_error_is_half_the_log_of_the_variance_that_it_starts_from() -> None:
    vid, features = Vid(3, 3), torch.randn(2, 3, 4, 4, generator=STREAM)
    with torch.no_grad():
        vid.regressor.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
    torch.testing.assert_close(vid(features, features), torch.tensor(0.5 * math.log(5.0)))
    assert vid(features, features + 1) > vid(features, features)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_certain_teacher_of_a_hundred_classes_gives_finite_losses_and_gradients(dtype: torch.dtype) -> None:
    teacher = (1e4 * torch.eye(100)).to(dtype).requires_grad_()
    learner = (-1e4 * torch.eye(100)).to(dtype).requires_grad_()
    values = [
        losses.soft_label_kl(teacher, learner, tau=3.0),
        losses.distillation([teacher, teacher], learner, [0.5, 0.5], tau=3.0),
        losses.instance_entropy(teacher),
        losses.negative_batch_entropy(teacher),
        losses.competitive(teacher, learner, tau=3.0),
    ]
    for value in values:
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        value.backward(retain_graph=True)
    assert torch.isfinite(teacher.grad).all()
    assert torch.isfinite(learner.grad).all()


def test_losses_are_float32_inside_autocast() -> None:
    half = logits().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert losses.soft_label_kl(half, half, tau=3.0).dtype == torch.float32
        assert losses.instance_entropy(half).dtype == torch.float32
        features = torch.randn(2, 3, 4, 4)
        assert Vid(3, 5)(features, torch.randn(2, 5, 4, 4)).dtype == torch.float32


class Normalised(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.BatchNorm2d(3), nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
        for layer in (self[0], self[2]):
            layer.running_mean.uniform_(-1, 1, generator=STREAM)
            layer.running_var.uniform_(0.5, 2, generator=STREAM)


def test_bn_divergence_reads_each_layers_input_with_the_biased_variance() -> None:
    network, images = Normalised().eval(), torch.rand(6, 3, 8, 8, generator=STREAM)
    _, divergences = BnWatch(network)(images)
    inputs = [images, network[1](network[0](images))]
    for found, layer, seen in zip(divergences, (network[0], network[2]), inputs, strict=True):
        flat = seen.detach().transpose(0, 1).flatten(1)
        expected = kl_divergence(
            Normal(flat.mean(1), (flat.var(1, unbiased=False) + layer.eps).sqrt()),
            Normal(layer.running_mean, (layer.running_var + layer.eps).sqrt()),
        )
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    summed, averaged = bn_divergence(divergences, "sum"), bn_divergence(divergences, "mean")
    torch.testing.assert_close(summed, divergences[0].sum() + divergences[1].sum())
    torch.testing.assert_close(averaged, divergences[0].mean() + divergences[1].mean())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_of_the_batch_statistics_is_that_of_torch(memory_format: torch.memory_format) -> None:
    network = nn.BatchNorm2d(3).eval()
    images = torch.rand(6, 3, 5, 5, generator=STREAM).contiguous(memory_format=memory_format)
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    bn_divergence(BnWatch(nn.Sequential(network))(ours)[1], "sum").backward()
    variance, mean = torch.var_mean(theirs, dim=(0, 2, 3), correction=0)
    one, eps = torch.ones(3), network.eps
    losses.gaussian_kl(mean, variance + eps, torch.zeros(3), one + eps).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_bn_divergence_is_zero_for_the_statistics_that_the_network_stored() -> None:
    network, images = (
        nn.Sequential(nn.BatchNorm2d(3, momentum=None)),
        torch.rand(8, 3, 8, 8, generator=STREAM),
    )
    network.train()(images)
    network[0].running_var.copy_(images.var(dim=(0, 2, 3), unbiased=False))
    _, divergences = BnWatch(network.eval())(images)
    assert bn_divergence(divergences, "sum").abs() < 1e-5


def test_a_watched_network_shares_its_tensors_and_the_network_itself_stays_unwatched() -> None:
    network = Normalised().eval()
    watch = BnWatch(network)
    kept = {id(tensor) for tensor in (*network.parameters(), *network.buffers())}
    assert {id(tensor) for tensor in watch.parameters()} <= kept
    assert [type(layer) for layer in network.modules()] == [type(layer) for layer in Normalised().modules()]
    images = torch.rand(2, 3, 8, 8, generator=STREAM)
    assert torch.equal(watch(images)[0], network(images))
    with pytest.raises(RuntimeError):
        watch(torch.rand(2, 4, 8, 8))
    assert len(watch(images)[1]) == 2


@pytest.mark.parametrize(
    ("learner", "teacher"), [((3, 4), (3, 4)), ((3, 8), (5, 4)), ((6, 2), (4, 7)), ((2, 1), (2, 6))]
)
def test_vid_takes_any_pair_of_channels_and_sizes(learner: tuple[int, int], teacher: tuple[int, int]) -> None:
    vid = Vid(learner[0], teacher[0])
    mine = torch.randn(2, learner[0], learner[1], learner[1], generator=STREAM)
    theirs = torch.randn(2, teacher[0], teacher[1], teacher[1], generator=STREAM)
    loss = vid(mine, theirs)
    loss.backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in vid.parameters()
    )


def test_vid_learns_regressor_and_variance() -> None:
    vid, features = Vid(3, 3), torch.randn(64, 3, 2, 2, generator=STREAM)
    optimiser = torch.optim.Adam(vid.parameters(), lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        loss = vid(features, 2 * features + 0.1 * torch.randn(features.shape, generator=STREAM))
        loss.backward()
        optimiser.step()
    # The noise has standard deviation 0.1, so the best loss is (log 0.01 + 1) / 2.
    assert abs(loss.item() - (math.log(0.01) + 1) / 2) < 0.2
