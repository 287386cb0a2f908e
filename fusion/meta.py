"""FastDFKD (Fang et al., AAAI 2022): a generator that learns to be a good start, from which a few updates
make a batch."""

import copy
import dataclasses
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fusion.augmentation import padded_crop
from fusion.bank import ImageBank
from fusion.generator import Generator, take_singular_vectors
from fusion.inversion import Banked, Smallest
from fusion.networks import ImageSpec
from fusion.synthesiser import Examine, Means, Minimise

MetaGradient: TypeAlias = Literal["sum", "difference"]
"""What the start is moved along: the sum of an inversion's gradients, or the way that it went (Reptile)."""


class MetaInversion(Banked):
    """A copy of the generator is trained together with its noise; the generator itself then follows it."""

    def __init__(
        self,
        bank: ImageBank,
        spec: ImageSpec,
        means: Means,
        *,
        generator: Generator,
        steps: int,
        noise_lr: float,
        meta_gradient: MetaGradient,
    ) -> None:
        """The generator's learning rate is `steps` times that of its copies."""
        super().__init__(bank, spec, means)
        self.generator, self._copy = generator, copy.deepcopy(generator)
        for module in (generator, self._copy):
            means.compute.place(module, means.device)
        self._steps, self._meta_gradient = steps, meta_gradient
        optimisation = means.optimisation
        self._for_noise = dataclasses.replace(optimisation, generator_lr=noise_lr)
        slow = dataclasses.replace(optimisation, generator_lr=optimisation.generator_lr * steps)
        self._meta_optimiser = slow.generator(generator.parameters())

    def update(self, stream: torch.Generator, examine: Examine, minimise: Minimise) -> None:
        """One inversion, of which the bank keeps the images with the smallest objective; then the start
        moves."""
        self._copy.load_state_dict(self.generator.state_dict())
        self._copy.train()
        shape = (self._batch_size, self._means.generator.latent_dim)
        noise = nn.Parameter(torch.randn(shape, generator=stream, device=self._device))
        labels = self.draw_labels(stream)
        optimisers = (
            self._means.optimisation.generator(self._copy.parameters()),
            self._for_noise.generator([noise]),
        )
        sums = [torch.zeros_like(one) for one in self._copy.parameters()]
        best = Smallest()
        for _ in range(self._steps):
            with self._means.compute.autocast(self._device):
                images = self._copy(noise)
            said = examine(padded_crop(images, self._spec.size // 8, stream))
            found = minimise(dataclasses.replace(said, labels=labels), *optimisers)
            best.note(found, images)
            for so_far, one in zip(sums, self._copy.parameters(), strict=True):
                assert one.grad is not None
                so_far += one.grad
        self.bank.add(*best.kept)
        self._move_start(sums)

    def modules(self) -> dict[str, nn.Module]:
        """The bank and the generator."""
        return {**super().modules(), "generator": self.generator}

    def optimisers(self) -> dict[str, Optimizer]:
        """The generator's."""
        return {"generator_optimiser": self._meta_optimiser}

    def _move_start(self, sums: list[Tensor]) -> None:
        """One update of the generator, by the gradient that the method is to have for it."""
        ways = zip(self.generator.parameters(), self._copy.parameters(), sums, strict=True)
        for start, end, so_far in ways:
            start.grad = so_far if self._meta_gradient == "sum" else (start - end).detach()
        self._meta_optimiser.step()
        take_singular_vectors(self.generator, self._copy)
