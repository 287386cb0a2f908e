"""The BN loss: how far a batch's statistics lie from those that a teacher's BatchNorm layers stored, Eqs.
(3), (4)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fusion.losses import gaussian_kl

BnReduction: TypeAlias = Literal["sum", "mean"]


def bn_layers(network: nn.Module) -> list[_BatchNorm]:
    """The network's BatchNorm layers that keep running statistics, in order of registration."""
    return [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]


@contextmanager
def record_bn_divergence(network: nn.Module) -> Iterator[list[Tensor]]:
    """Within the block, each forward pass appends to the list, per BatchNorm layer, its Eq. (4) per
    channel."""
    divergences: list[Tensor] = []

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert (
            isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.running_var is not None
        )
        images = inputs[0].float()
        dims = [dim for dim in range(images.dim()) if dim != 1]
        variance, mean = torch.var_mean(images, dim=dims, correction=0)
        divergences.append(
            gaussian_kl(
                mean, variance + layer.eps, layer.running_mean.float(), layer.running_var.float() + layer.eps
            )
        )

    handles = [layer.register_forward_pre_hook(hook) for layer in bn_layers(network)]
    try:
        yield divergences
    finally:
        for handle in handles:
            handle.remove()


def bn_divergence(divergences: Sequence[Tensor], reduction: BnReduction) -> Tensor:
    """The first term of Eq. (3): summed over layers; over a layer's channels summed or averaged.

    `divergences` holds one [channels] tensor a layer; at least one is needed.
    """
    return torch.stack([layer.sum() if reduction == "sum" else layer.mean() for layer in divergences]).sum()
