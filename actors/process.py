"""What every worker process does first, and how weights and images travel."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Arrays = dict[str, NDArray[np.generic]]


def use_device(device: str, threads: int) -> torch.device:
    """Set the number of CPU threads (part of what decides the bits of a result) and return the device."""
    torch.set_num_threads(threads)
    return torch.device(device)


def to_arrays(modules: Mapping[str, nn.Module]) -> dict[str, Arrays]:
    """Each module's state as NumPy arrays, which the object store shares without copying."""
    return {role: as_arrays(module.state_dict()) for role, module in modules.items()}


def as_arrays(state: Mapping[str, Tensor]) -> Arrays:
    """The copy of one state."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in state.items()}


def to_tensors(arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, Tensor]:
    """A state dict again, on the CPU and writable."""
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def as_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor on the object store's own memory: nothing is copied, and nobody may write to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
