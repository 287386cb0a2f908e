"""The BN loss: how far a batch's statistics lie from those that a teacher's BatchNorm layers stored, Eqs.
(3), (4)."""

import copy
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fusion.losses import gaussian_kl, moment_distance
from fusion.networks import Classifier, Prediction

BnReduction: TypeAlias = Literal["sum", "mean"]
BnLoss: TypeAlias = Literal["gaussian_kl", "distance"]
"""What a layer's divergence is: Eq. (4), or `moment_distance`."""


def bn_layers(network: nn.Module) -> list[_BatchNorm]:
    """The network's BatchNorm layers that keep running statistics, in order of registration.

    Those of heads that a prediction does not need (`fusion.networks.features`) are none of them.
    """
    return [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm)
        and module.running_mean is not None
        and not getattr(module, "is_idle", False)
    ]


class BnMemory(nn.Module):
    """Means and variances [channels] at a teacher's BatchNorm layers, averaged over earlier batches, as in
    FastDFKD (Fang et al., AAAI 2022). With them a batch need not look like all of the data.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, channels: int, momentum: float) -> None:
        """`momentum` is the weight of what was before, from 0 to 1."""
        super().__init__()
        self._momentum = momentum
        self._seen: tuple[Tensor, Tensor] | None = None
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.zeros(channels))
        self.register_buffer("batches", torch.tensor(0))

    def mixed(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Statistics of a batch together with those of earlier ones; before the first, as they are."""
        self._seen = mean.detach(), variance.detach()
        return self._mix(self.mean, mean), self._mix(self.variance, variance)

    @torch.no_grad()
    def end_batch(self) -> None:
        """The batch is finished: what was seen last is of an earlier one from now on."""
        assert self._seen is not None
        mean, variance = self._seen
        self.mean.copy_(self._mix(self.mean, mean))
        self.variance.copy_(self._mix(self.variance, variance))
        self.batches += 1

    def _mix(self, before: Tensor, now: Tensor) -> Tensor:
        # A product in place of a question, for which a GPU would have to be waited for.
        weight = self._momentum * (self.batches > 0)
        return weight * before + (1 - weight) * now


class BnWatch(nn.Module):
    """A frozen classifier that says of each batch how far its statistics lie from the stored ones.

    It shares the classifier's tensors; the classifier itself stays as it is and does not pay for the
    watching.
    """

    target_mean: Tensor
    target_variance: Tensor

    def __init__(
        self, classifier: Classifier, bn_loss: BnLoss = "gaussian_kl", momentum: float = 0.0
    ) -> None:
        """With a `momentum` earlier batches count too, if the classifier has BatchNorm (`memory`)."""
        super().__init__()
        self._bn_loss = bn_loss
        shared: dict[int, Any] = {id(t): t for t in (*classifier.parameters(), *classifier.buffers())}
        self.classifier = copy.deepcopy(classifier, shared)
        layers = bn_layers(self.classifier)
        self._watched = [_Watched(layer) for layer in layers]
        _replace(self.classifier, dict(zip(layers, self._watched, strict=True)))
        self._channels = [layer.num_features for layer in layers]
        self._eps = [layer.eps for layer in layers]
        self.memory = BnMemory(sum(self._channels), momentum) if layers and momentum > 0 else None
        if layers:
            means = [_stored(layer.running_mean) for layer in layers]
            variances = [_stored(layer.running_var) + layer.eps for layer in layers]
            self.register_buffer("target_mean", torch.cat(means), persistent=False)
            self.register_buffer("target_variance", torch.cat(variances), persistent=False)

    def forward(self, images: Tensor) -> tuple[Prediction, list[Tensor]]:
        """What the classifier says of `images`, and the divergences: a tensor a layer, [channels] of Eq. (4),
        [1] of distances."""
        prediction = self.classifier(images)
        if not self._watched:
            return prediction, []
        statistics = [layer.take() for layer in self._watched]
        mean = torch.cat([mean for mean, _ in statistics])
        variance = torch.cat(
            [variance + eps for (_, variance), eps in zip(statistics, self._eps, strict=True)]
        )
        if self.memory is not None:
            mean, variance = self.memory.mixed(mean, variance)
        if self._bn_loss == "distance":
            ours, stored = (mean, variance), (self.target_mean, self.target_variance)
            layers = zip(*(one.split(self._channels) for one in (*ours, *stored)), strict=True)
            return prediction, [moment_distance(*layer).view(1) for layer in layers]
        divergences = gaussian_kl(mean, variance, self.target_mean, self.target_variance)
        return prediction, list(divergences.split(self._channels))


def bn_divergence(divergences: Sequence[Tensor], reduction: BnReduction) -> Tensor:
    """The first term of Eq. (3): summed over layers; over a layer's channels summed or averaged.

    `divergences` holds one tensor a layer; at least one is needed.
    """
    if reduction == "sum":
        return torch.cat(list(divergences)).sum()
    return torch.stack([layer.mean() for layer in divergences]).sum()


class _Watched(nn.Module):
    """A BatchNorm layer that remembers mean and variance of its last input."""

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__()
        self.layer = layer
        self.seen: tuple[Tensor, Tensor] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen = _BatchStatistics.apply(inputs.float())  # type: ignore[no-untyped-call]
        return self.layer(inputs)  # type: ignore[no-any-return]

    def take(self) -> tuple[Tensor, Tensor]:
        seen, self.seen = self.seen, None
        assert seen is not None
        return seen


class _BatchStatistics(torch.autograd.Function):
    """Mean and biased variance [channels] of [batch, channels, ...], as BatchNorm itself computes them.

    `torch.var_mean` gives the same numbers five to forty times slower on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = torch.batch_norm_update_stats(inputs, None, None, 0.0)
        ctx.save_for_backward(inputs, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        to_mean, to_variance = gradients
        inputs, mean = ctx.saved_tensors
        count = inputs.numel() // inputs.shape[1]
        shape = (1, -1, *[1] * (inputs.dim() - 2))
        slope = 2.0 / count * to_variance
        return torch.addcmul((to_mean / count - slope * mean).view(shape), inputs, slope.view(shape))


def _stored(statistic: Tensor | None) -> Tensor:
    assert statistic is not None
    return statistic.float()


def _replace(root: nn.Module, replacements: dict[_BatchNorm, _Watched]) -> None:
    for module in list(root.modules()):
        if isinstance(module, _Watched):
            continue
        for name, child in list(module.named_children()):
            if isinstance(child, _BatchNorm) and child in replacements:
                setattr(module, name, replacements[child])
