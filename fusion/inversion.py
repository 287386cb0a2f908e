"""What all inversions share, and the one whose parameters are the images themselves: DeepInversion, also
the adaptive one (Yin et al., CVPR 2020)."""

import dataclasses

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fusion.bank import ImageBank
from fusion.generator import Generator, GeneratorSettings, build_generator
from fusion.networks import ImageSpec
from fusion.seeding import seeded_initialisation
from fusion.synthesiser import Examine, Means, Minimise


class Smallest:
    """Remembers what belonged to the smallest objective, without asking the device what it was."""

    def __init__(self) -> None:
        self._objective: Tensor | None = None
        self.kept: list[Tensor] = []

    def note(self, objective: Tensor, *tensors: Tensor) -> None:
        """These tensors, of one shape whenever they are noted, had this objective, a scalar."""
        now = [one.detach() for one in tensors]
        if self._objective is None:
            self._objective, self.kept = objective, now
            return
        better = objective < self._objective
        self._objective = torch.where(better, objective, self._objective)
        self.kept = [torch.where(better, *pair) for pair in zip(now, self.kept, strict=True)]


def start_afresh(generator: Generator, settings: GeneratorSettings, spec: ImageSpec, seed: int) -> None:
    """Give the generator the weights of a new one."""
    with seeded_initialisation(seed, "restart"):
        fresh = build_generator(settings, spec)
    generator.load_state_dict(fresh.state_dict())


def drawn_seed(stream: torch.Generator) -> int:
    """A seed that the stream decides."""
    return int(torch.randint(2**62, (1,), generator=stream, device=stream.device))


class Banked:
    """The part of a synthesiser that hands out images: from a bank that inversions fill."""

    def __init__(self, bank: ImageBank, spec: ImageSpec, means: Means) -> None:
        self.bank = bank.to(means.device)
        self._spec, self._means = spec, means
        self._batch_size, self._device = means.batch_size, means.device

    def sample(self, count: int, stream: torch.Generator) -> Tensor:
        """Images of the bank: each at most once, if it holds so many, else all of them again and again."""
        found = self.bank.sample(count, stream)
        assert len(found) > 0
        while len(found) < count:
            found = torch.cat([found, self.bank.sample(count - len(found), stream)])
        return found

    def preview(self, count: int, stream: torch.Generator) -> Tensor:
        """The same; black as long as there are none."""
        found = self.bank.sample(count, stream)
        missing = found.new_zeros(count - len(found), *found.shape[1:])
        return torch.cat([found, missing])

    def modules(self) -> dict[str, nn.Module]:
        """The bank."""
        return {"bank": self.bank}

    def optimisers(self) -> dict[str, Optimizer]:
        """None: those of an inversion end with it."""
        return {}

    def draw_labels(self, stream: torch.Generator) -> Tensor:
        """The classes that a batch is to show: [batch], each of the teacher's alike likely."""
        return torch.randint(
            len(self._spec.classes), (self._batch_size,), generator=stream, device=self._device
        )


class Finished(Banked):
    """A bank that is full from the start, and stays as it is."""

    def update(self, stream: torch.Generator, examine: Examine, minimise: Minimise) -> None:
        """Nothing is left to learn."""


class PixelInversion(Banked):
    """A batch of noise becomes images of drawn classes by many updates of its pixels."""

    def __init__(
        self,
        bank: ImageBank,
        spec: ImageSpec,
        means: Means,
        *,
        steps: int,
        lr: float,
        jitter: int,
    ) -> None:
        super().__init__(bank, spec, means)
        self._steps, self._lr, self._jitter = steps, lr, jitter
        self._mean, self._std = (
            torch.tensor(values, device=means.device).view(1, -1, 1, 1) for values in (spec.mean, spec.std)
        )

    def update(self, stream: torch.Generator, examine: Examine, minimise: Minimise) -> None:
        """One inversion. What is updated are the teacher's normalised inputs, from standard normal noise."""
        shape = (self._batch_size, self._spec.channels, self._spec.size, self._spec.size)
        inputs = torch.randn(shape, generator=stream, device=self._device).requires_grad_()
        labels = self.draw_labels(stream)
        shifts = torch.randint(
            -self._jitter, self._jitter + 1, (self._steps, 2), generator=stream, device=self._device
        )
        black, white = (0 - self._mean) / self._std, (1 - self._mean) / self._std
        optimiser = torch.optim.Adam([inputs], lr=self._lr)
        for shift in shifts.tolist():
            shifted = torch.roll(inputs, shift, dims=(2, 3))
            said = examine(shifted * self._std + self._mean)
            minimise(dataclasses.replace(said, labels=labels, inputs=shifted), optimiser)
            with torch.no_grad():
                inputs.clamp_(black, white)
        self.bank.add(inputs.detach() * self._std + self._mean)
