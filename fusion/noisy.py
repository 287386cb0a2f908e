"""NAYER (Tran et al., CVPR 2024): what a generator starts from are embeddings of classes behind a noisy
layer, which is drawn anew for every batch."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion.augmentation import padded_crop
from fusion.bank import ImageBank
from fusion.generator import Generator
from fusion.inversion import Banked, Smallest, drawn_seed, start_afresh
from fusion.networks import ImageSpec
from fusion.synthesiser import Examine, Means, Minimise

NoisyLayer: TypeAlias = Literal[
    "linear",
    "linear-linear",
    "batchnorm-linear",
    "batchnorm-linear-linear",
    "batchnorm-linear-sigmoid",
    "batchnorm-linear-tanh",
    "batchnorm-linear-relu",
    "batchnorm-linear-dropout",
]
"""A1 to A8 of the supplement's Table 5."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
}
DROPOUT = 0.5
"""PyTorch's default rate; the supplement has none."""


class EmbeddingsError(ValueError):
    """A file does not hold an embedding of each class."""


def class_embeddings(path: str | None, classes: Sequence[str]) -> Tensor:
    """Embeddings [classes, width] of these classes, in their order: the rows of a NumPy file (.npy); or
    one-hot vectors, without a file.

    Raises:
        EmbeddingsError: the file cannot be read, or holds something else.
    """
    if path is None:
        return torch.eye(len(classes))
    found = read_embeddings(path)
    if len(found) != len(classes):
        raise EmbeddingsError(f"{path}: {len(found)} vectors for {len(classes)} classes")
    return found


def read_embeddings(path: str) -> Tensor:
    """The vectors [count, width], float32, of a NumPy file (.npy).

    Raises:
        EmbeddingsError: it cannot be read, or holds something else.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except OSError as error:
        raise EmbeddingsError(f"{path}: {error.strerror or 'not a NumPy file'}") from error
    except (ValueError, EOFError) as error:
        raise EmbeddingsError(f"{path}: not a NumPy file (.npy) of numbers") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu" or found.ndim != 2:
        raise EmbeddingsError(f"{path}: must be one array of numbers, [classes, width]")
    with np.errstate(over="ignore"):  # What is too large becomes infinite.
        vectors = found.astype(np.float32)
    if vectors.shape[1] < 1 or not np.isfinite(vectors).all():
        raise EmbeddingsError(f"{path}: vectors must have at least 1 number, all of them finite in float32")
    return torch.from_numpy(vectors)


class NoisyLayers(nn.Module):
    """Several noisy layers side by side, each for a group of `size` images, the last one perhaps for fewer:
    embeddings [count, width] to what the generator takes, [count, latent_dim].

    Weights are standard normal and biases zero; the BatchNorm layer has nothing to learn. What dropout leaves
    out is drawn from the stream in each pass.
    """

    def __init__(
        self, kind: NoisyLayer, count: int, size: int, width: int, latent_dim: int, stream: torch.Generator
    ) -> None:
        super().__init__()
        self._parts = kind.split("-")
        self._count, self._size, self._stream = count, size, stream
        groups = -(-count // size)
        widths = [width] + [latent_dim] * self._parts.count("linear")
        self.weights = nn.ParameterList(
            torch.randn(groups, inputs, outputs, generator=stream, device=stream.device)
            for inputs, outputs in itertools.pairwise(widths)
        )
        self.biases = nn.ParameterList(
            torch.zeros(groups, 1, latent_dim, device=stream.device) for _ in self.weights
        )

    def forward(self, embeddings: Tensor) -> Tensor:
        """The images of a group stand one after the other."""
        x = embeddings
        if self._parts[0] == "batchnorm":
            x = F.batch_norm(x, None, None, training=True)
        x = F.pad(x, (0, 0, 0, -self._count % self._size)).unflatten(0, (-1, self._size))
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = torch.baddbmm(bias, x, weight)
        if self._parts[-1] in ACTIVATIONS:
            x = ACTIVATIONS[self._parts[-1]](x)
        x = x.flatten(0, 1)[: self._count]
        if self._parts[-1] == "dropout":
            # That of PyTorch draws from the global stream.
            kept = torch.rand(x.shape, generator=self._stream, device=x.device) >= DROPOUT
            x = x * kept / (1 - DROPOUT)
        return x


class NoisyInversion(Banked):
    """The generator learns on from batch to batch, until it starts afresh; the noisy layers do not."""

    def __init__(
        self,
        bank: ImageBank,
        spec: ImageSpec,
        means: Means,
        *,
        embeddings: Tensor,
        generator: Generator,
        kind: NoisyLayer,
        steps: int,
        restart_every: int,
    ) -> None:
        """`embeddings` are [classes, width], of the teacher's classes in its order; the generator starts
        afresh after every `restart_every` batches."""
        super().__init__(bank, spec, means)
        means.compute.place(generator, means.device)
        self.embeddings, self.generator = embeddings.float().to(means.device), generator
        self._kind, self._steps, self._restart_every = kind, steps, restart_every

    def update(self, stream: torch.Generator, examine: Examine, minimise: Minimise) -> None:
        """One inversion, of which the bank keeps the images with the smallest objective."""
        batches = int(self.bank.count) // self._batch_size
        if batches > 0 and batches % self._restart_every == 0:
            start_afresh(self.generator, self._means.generator, self._spec, drawn_seed(stream))
        self.generator.train()
        labels = self.draw_labels(stream)
        classes, width = self.embeddings.shape
        size = min(classes, self._batch_size)
        latent = self._means.generator.latent_dim
        noisy = NoisyLayers(self._kind, self._batch_size, size, width, latent, stream)
        optimiser = self._means.optimisation.generator([*self.generator.parameters(), *noisy.parameters()])
        best = Smallest()
        for _ in range(self._steps):
            with self._means.compute.autocast(self._device):
                images = self.generator(noisy(self.embeddings[labels]))
            said = examine(padded_crop(images, self._spec.size // 8, stream))
            best.note(minimise(dataclasses.replace(said, labels=labels), optimiser), images)
        self.bank.add(*best.kept)

    def draw_labels(self, stream: torch.Generator) -> Tensor:
        """All classes, again and again, and drawn ones for what is left: a noisy layer makes one image of
        each."""
        classes = len(self.embeddings)
        whole, left = divmod(self._batch_size, classes)
        cycles = torch.arange(classes, device=self._device).repeat(whole)
        return torch.cat([cycles, torch.randperm(classes, generator=stream, device=self._device)[:left]])

    def modules(self) -> dict[str, nn.Module]:
        """The bank and the generator."""
        return {**super().modules(), "generator": self.generator}
