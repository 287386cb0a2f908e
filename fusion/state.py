"""The state of modules and optimisers as one flat dictionary of tensors: what a snapshot holds.

Random streams are functions of the run's seed and the iteration (`fusion.seeding`), so they have no state.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

State = dict[str, Tensor]


def take_state(modules: Mapping[str, nn.Module], optimisers: Mapping[str, Optimizer]) -> State:
    """Copies on the CPU, named ``role/name`` for modules and ``role/parameter/name`` for optimisers."""
    state = {
        f"{role}/{name}": tensor
        for role, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    state |= {
        f"{role}/{index}/{name}": value
        for role, optimiser in optimisers.items()
        for index, parameter in enumerate(_parameters(optimiser))
        for name, value in optimiser.state[parameter].items()
    }
    return {name: _copy(tensor) for name, tensor in state.items()}


@torch.no_grad()
def put_state(
    state: Mapping[str, Tensor], modules: Mapping[str, nn.Module], optimisers: Mapping[str, Optimizer]
) -> None:
    """Make modules and optimisers what they were when `take_state` saw them, on whatever device they are.

    Raises:
        ValueError: `state` is of other modules.
    """
    left = dict(state)
    for role, module in modules.items():
        for name, tensor in module.state_dict().items():
            tensor.copy_(_fitting(left.pop(f"{role}/{name}", None), tensor, f"{role}/{name}"))
    for role, optimiser in optimisers.items():
        for index, parameter in enumerate(_parameters(optimiser)):
            prefix = f"{role}/{index}/"
            names = [name for name in left if name.startswith(prefix)]
            optimiser.state[parameter] = {
                name.removeprefix(prefix): _like(left.pop(name), parameter, name) for name in names
            }
    if left:
        raise ValueError(f"unknown {sorted(left)[:3]}")


def _parameters(optimiser: Optimizer) -> Iterator[Tensor]:
    return (parameter for group in optimiser.param_groups for parameter in group["params"])


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _like(value: Tensor, parameter: Tensor, name: str) -> Tensor:
    """An optimiser's tensor in its parameter's memory layout, which the fused kernels take for granted."""
    if value.ndim == 0:
        return value.to(parameter.device, copy=True)  # The count of steps.
    return torch.empty_like(parameter).copy_(_fitting(value, parameter, name))


def _fitting(value: Tensor | None, expected: Tensor, name: str) -> Tensor:
    if value is None:
        raise ValueError(f"{name} is missing")
    if value.shape != expected.shape or value.dtype != expected.dtype:
        raise ValueError(
            f"{name} is {value.dtype} {list(value.shape)}, not {expected.dtype} {list(expected.shape)}"
        )
    return value
