"""The student as it was, for generators whose critic lags behind it."""

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from fusion.state import State

Weights: TypeAlias = Mapping[str, Tensor]
"""The state of the student's network."""

PREFIX = "critic/"


class Critics:
    """Copies of the student's network from before each of its last `lag` iterations.

    Iteration i is judged by the network that has had max(0, i - `lag`) iterations, so between two iterations
    these copies and the network itself are all that the iterations to come can ask for.
    """

    def __init__(self, lag: int) -> None:
        self._lag = lag
        self.past: dict[int, Weights] = {}
        """By the number of iterations that the network had had, the fewest first."""

    def keep(self, iteration: int, network: nn.Module) -> None:
        """Of `network`, which is about to learn from `iteration` (from 0)."""
        self.past = {done: one for done, one in self.past.items() if done > iteration - self._lag}
        if self._lag > 0:
            own = network.state_dict()
            self.past[iteration] = {name: tensor.detach().clone() for name, tensor in own.items()}

    def of(self, iteration: int, network: nn.Module) -> Weights:
        """Who judges in `iteration`, not copied; `network` has had all iterations before it."""
        done = max(0, iteration - self._lag)
        return network.state_dict() if done == iteration else self.past[done]

    def state(self) -> State:
        """Copies on the CPU, named ``critic/ITERATIONS/NAME``."""
        return {
            f"{PREFIX}{done}/{name}": tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)
            for done, one in self.past.items()
            for name, tensor in one.items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> State:
        """Take what is named as in `state()`; gives back the rest."""
        past: dict[int, dict[str, Tensor]] = {}
        for key in [one for one in state if one.startswith(PREFIX)]:
            done, _, name = key.removeprefix(PREFIX).partition("/")
            past.setdefault(int(done), {})[name] = state[key]
        self.past = {done: past[done] for done in sorted(past)}
        return {name: tensor for name, tensor in state.items() if not name.startswith(PREFIX)}
