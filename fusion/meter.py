"""Means of loss terms over an iteration, kept on the device until they are asked for."""

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor


class Meter:
    """Collects scalar tensors by name; `take` gives their means and starts anew."""

    def __init__(self) -> None:
        self._values: defaultdict[str, list[Tensor]] = defaultdict(list)

    def add(self, values: Mapping[str, Tensor], prefix: str = "") -> None:
        """Note one value of each name."""
        for name, value in values.items():
            self._values[prefix + name].append(value.detach())

    def take(self) -> dict[str, float]:
        """The mean of each name since the last call; one transfer from the device."""
        if not self._values:
            return {}
        means = torch.stack([torch.stack(values).mean() for values in self._values.values()]).tolist()
        result = dict(zip(self._values, means, strict=True))
        self._values.clear()
        return result

    def state(self) -> dict[str, Tensor]:
        """All values since `take`, by name: what a snapshot within an epoch of the warm-up holds."""
        return {name: torch.stack(values).cpu() for name, values in self._values.items()}

    def restore(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Be as the meter was whose `state` this is."""
        self._values.clear()
        for name, values in state.items():
            self._values[name] = list(values.to(device, copy=True))
