"""A student whose batches are shared out over processes: the same optimisation as in one process.

PyTorch's DistributedDataParallel averages the gradients; BatchNorm statistics are those of the whole union
batch, as they are in one process. The results agree with one process up to rounding, not bit for bit.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from fusion.student import Student


def distribute(student: Student) -> None:
    """Let `student` learn from its share of every batch, together with all processes of the default group.

    Every process must have built the same student.
    """
    network = student.classifier.network
    if student.device.type == "cuda":
        student.classifier.network = _synchronised_on_gpus(network)
    else:
        _synchronise(network)
    student.forward = DistributedDataParallel(
        student.learner,
        broadcast_buffers=False,  # Every process computes the same ones.
        find_unused_parameters=True,  # VID of a teacher that is not asked, or with beta = 0; idle heads.
    )


def shard(images: Tensor, num_parties: int, rank: int, world: int) -> Tensor:
    """The images of union batches [..., K share, channels, size, size] that process `rank` of `world` learns
    from: the same part of every party's."""
    share = images.shape[-4] // num_parties
    each = share // world
    assert each * world == share
    own = images.unflatten(-4, (num_parties, share)).narrow(-4, rank * each, each)
    joined: Tensor = own.flatten(-5, -4)
    return joined


def mean_over_processes(metrics: dict[str, float]) -> dict[str, float]:
    """Each metric's mean over the processes; all of them must call this with the same names."""
    values = torch.tensor(list(metrics.values()), dtype=torch.float64)
    if dist.get_backend() == "nccl":
        values = values.cuda()
    dist.all_reduce(values)
    return dict(zip(metrics, (values / dist.get_world_size()).tolist(), strict=True))


def _synchronised_on_gpus(network: Any) -> Any:
    """Those of timm's layers that are BatchNorm and an activation would lose the latter in PyTorch's own
    conversion."""
    if any(type(layer).__module__.startswith("timm.") for layer in network.modules()):
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(network)
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


def _synchronise(network: nn.Module) -> None:
    """torch.nn.SyncBatchNorm is for GPUs; on CPUs the layers' forward pass is replaced."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.forward = _Synchronised(module)  # type: ignore[method-assign, assignment]


class _Synchronised:
    """BatchNorm over the images of all processes, each of which has equally many."""

    def __init__(self, layer: _BatchNorm) -> None:
        self._layer: Any = layer

    def __call__(self, inputs: Tensor) -> Tensor:
        layer = self._layer
        if layer.training:
            # As BatchNorm itself does, in float32 whatever the input is.
            outputs = self._normalised(inputs.float()).to(inputs.dtype)
        else:
            outputs = F.batch_norm(
                inputs, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps
            )
        for name in ("drop", "act"):  # Of timm's layers, which do more than BatchNorm.
            if isinstance(then := getattr(layer, name, None), nn.Module):
                outputs = then(outputs)
        return outputs

    def _normalised(self, inputs: Tensor) -> Tensor:
        layer, world = self._layer, dist.get_world_size()
        dims, shape = [0, *range(2, inputs.dim())], (1, -1, *[1] * (inputs.dim() - 2))
        mean = all_reduce(inputs.mean(dims)) / world  # type: ignore[no-untyped-call]
        centred = inputs - mean.view(shape)
        variance = all_reduce(centred.square().mean(dims)) / world  # type: ignore[no-untyped-call]
        with torch.no_grad():
            count = world * inputs.numel() / inputs.shape[1]
            layer.num_batches_tracked += 1
            layer.running_mean.lerp_(mean, layer.momentum)
            layer.running_var.lerp_(variance * count / (count - 1), layer.momentum)
        scaled = centred * (layer.weight * torch.rsqrt(variance + layer.eps)).view(shape)
        shifted: Tensor = scaled + layer.bias.view(shape)
        return shifted
