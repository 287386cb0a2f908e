"""What a party makes its images with: a generator; or, of methods that invert, a bank of finished images."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fusion.compute import Compute
from fusion.generator import Generator, GeneratorSettings
from fusion.method import Synthesis
from fusion.schedule import Optimisation

Examine: TypeAlias = Callable[[Tensor], Synthesis]
"""What teacher and critic say of images [batch, channels, size, size]; gradients flow back to these."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Means:
    """What every synthesiser is made with, whatever the method."""

    generator: GeneratorSettings
    batch_size: int
    num_parties: int
    optimisation: Optimisation
    taming: float
    """What learning rates that are a method's own are multiplied with."""
    compute: Compute
    device: torch.device


class Minimise(Protocol):
    """An update on the method's objective."""

    def __call__(self, synthesis: Synthesis, *optimisers: Optimizer) -> Tensor:
        """Update what the optimisers hold, by what was said of the images; the objective as it was before."""


class Synthesiser(Protocol):
    """All its draws come from the streams that it is given, so what it does in an iteration can be done
    again."""

    def update(self, stream: torch.Generator, examine: Examine, minimise: Minimise) -> None:
        """Learn, in one iteration of the warm-up or of the main phase."""

    def sample(self, count: int, stream: torch.Generator) -> Tensor:
        """Images [count, channels, size, size] in the common space, to learn from."""

    def preview(self, count: int, stream: torch.Generator) -> Tensor:
        """Images to look at; changes nothing."""

    def modules(self) -> dict[str, nn.Module]:
        """What it keeps from one iteration to the next, by role."""

    def optimisers(self) -> dict[str, Optimizer]:
        """Those that it keeps, by role."""


class Generative:
    """A generator that is trained all along: lines 7 and 15 of Algorithm 1, one update a call."""

    def __init__(self, generator: Generator, means: Means) -> None:
        means.compute.place(generator, means.device)
        self.generator, self._means = generator, means
        self.optimiser = means.optimisation.generator(generator.parameters())

    def update(self, stream: torch.Generator, examine: Examine, minimise: Minimise) -> None:
        """On one batch of fresh noise."""
        self.generator.train()
        with self._means.compute.autocast(self._means.device):
            images = self.generator(self._noise(self._means.batch_size, stream))
        minimise(examine(images), self.optimiser)

    @torch.no_grad()
    def sample(self, count: int, stream: torch.Generator) -> Tensor:
        """Images of fresh noise."""
        self.generator.train(self._means.generator.sampling == "batch")
        with self._means.compute.autocast(self._means.device):
            return self.generator(self._noise(count, stream))  # type: ignore[no-any-return]

    @torch.no_grad()
    def preview(self, count: int, stream: torch.Generator) -> Tensor:
        """Images of a copy, whose BatchNorm statistics may change."""
        twin = copy.deepcopy(self.generator).train(self._means.generator.sampling == "batch")
        return twin(self._noise(count, stream))  # type: ignore[no-any-return]

    def modules(self) -> dict[str, nn.Module]:
        """The generator."""
        return {"generator": self.generator}

    def optimisers(self) -> dict[str, Optimizer]:
        """The generator's."""
        return {"generator_optimiser": self.optimiser}

    def _noise(self, count: int, stream: torch.Generator) -> Tensor:
        shape = (count, self._means.generator.latent_dim)
        return torch.randn(shape, generator=stream, device=self._means.device)
