"""The generators: DFQ's (Choi et al., 2020) for any square size, and that of NAYER's supplement (Tran et al.,
2024)."""

import dataclasses
import itertools
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from fusion.networks import ImageSpec
from fusion.settings import Settings, setting

LARGEST_START = 8
"""The linear layer's map is at most this wide; larger images get more than three upsamplings. Of DFQ's."""
TABLE_1, TABLE_2 = (128, 128, 64), (128, 128, 128, 64, 64)
"""Of NAYER's supplement: channels of the linear layer's map and after each convolution that an upsampling
follows."""
LARGEST_OF_TABLE_1 = 64
"""TinyImageNet's size; Table 2 is for ImageNet's, 224."""
SLOPE = 0.2
"""Of LeakyReLU, as in NAYER's released code; its supplement has none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratorSettings(Settings):
    """Layers, size and output of every party's generator."""

    layout: Literal["dfq", "nayer"] = setting(
        "dfq",
        "Its layers: 'dfq', or those of NAYER's supplement, Table 1 for images up to 64 pixels wide, which "
        "must be a multiple of 4, and Table 2 for larger ones, a multiple of 16 (docs/methods/nayer.md).",
    )
    latent_dim: int = setting(512, "Length of the noise vector z; 1000 in NAYER's supplement.", at_least=1)
    width: int = setting(
        512,
        "Channels of the linear layer's map; halved by each upsampling down to an eighth. Of layout 'dfq'.",
        at_least=8,
    )
    output: Literal["batchnorm", "sigmoid"] = setting(
        "batchnorm",
        "Last layer: 'batchnorm' is DFQ's tanh and BatchNorm without affine (each channel has the mean and "
        "deviation that the teacher's normalisation names), with layout 'nayer' a sigmoid and BatchNorm "
        "that begins so and learns; 'sigmoid' gives pixels in [0, 1].",
    )
    sampling: Literal["batch", "running"] = setting(
        "batch",
        "Statistics of the generator's BatchNorm layers when it only synthesises images (for the assistant "
        "and the student): those of the batch, or the running averages that its own updates leave.",
    )


class Generator(nn.Module):
    """Noise [batch, latent_dim] to images [batch, channels, size, size] in the common space of
    `Classifier`."""

    linear: nn.Linear
    last_norm: nn.BatchNorm2d | None
    mean: Tensor
    std: Tensor

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, -1, 1, 1), persistent=False)

    def normalised(self, pixels: Tensor) -> Tensor:
        """The last BatchNorm's output, taken for what the teacher's network gets, in the common space."""
        assert self.last_norm is not None
        return self.last_norm(pixels) * self.std + self.mean  # type: ignore[no-any-return]


class DfqGenerator(Generator):
    """One linear layer, then upsampling and convolution."""

    def __init__(self, settings: GeneratorSettings, spec: ImageSpec) -> None:
        super().__init__(spec)
        upsamplings = max(3, math.ceil(math.log2(spec.size / LARGEST_START)))
        self.sizes = [math.ceil(spec.size / 2**step) for step in range(upsamplings, -1, -1)]
        widths = [max(settings.width // 2**step, settings.width // 8) for step in range(upsamplings + 1)]
        self.start = (widths[0], self.sizes[0], self.sizes[0])
        self.linear = nn.Linear(settings.latent_dim, math.prod(self.start))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
            for inputs, outputs in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for outputs in widths[1:])
        self.to_pixels = nn.Conv2d(widths[-1], spec.channels, kernel_size=3, padding=1)
        self.last_norm = (
            nn.BatchNorm2d(spec.channels, affine=False) if settings.output == "batchnorm" else None
        )

    def forward(self, noise: Tensor) -> Tensor:
        x = self.linear(noise).view(-1, *self.start)
        for size, convolution, norm in zip(self.sizes[1:], self.convolutions, self.norms, strict=True):
            x = convolution(F.interpolate(x, size=(size, size), mode="nearest"))
            x = F.relu(norm(x), inplace=True)
        pixels = self.to_pixels(x).float()  # Images are float32, also inside autocast.
        return torch.sigmoid(pixels) if self.last_norm is None else self.normalised(torch.tanh(pixels))


class NayerGenerator(Generator):
    """Tables 1 and 2 of NAYER's supplement: BatchNorm also between the linear layer and its map, and spectral
    norms in all convolutions, whose estimates of singular vectors are buffers."""

    def __init__(self, settings: GeneratorSettings, spec: ImageSpec) -> None:
        super().__init__(spec)
        check_size(settings, spec.size)
        widths = _table(spec.size)
        start = spec.size // 2 ** (len(widths) - 1)
        self.start = (widths[0], start, start)
        self.linear = nn.Linear(settings.latent_dim, math.prod(self.start))
        self.first_norm = nn.BatchNorm1d(math.prod(self.start))
        self.convolutions = nn.ModuleList(
            # Without a bias, which the BatchNorm that follows would take away.
            _spectral(nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False))
            for inputs, outputs in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for outputs in widths[1:])
        self.to_pixels = _spectral(nn.Conv2d(widths[-1], spec.channels, kernel_size=3, padding=1))
        self.last_norm = nn.BatchNorm2d(spec.channels) if settings.output == "batchnorm" else None

    def forward(self, noise: Tensor) -> Tensor:
        x = self.first_norm(self.linear(noise)).view(-1, *self.start)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.leaky_relu(norm(convolution(x)), SLOPE, inplace=True)
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        pixels = torch.sigmoid(self.to_pixels(x).float())
        return pixels if self.last_norm is None else self.normalised(pixels)


def build_generator(settings: GeneratorSettings, spec: ImageSpec) -> Generator:
    """A freshly initialised one, drawing from PyTorch's global stream (see `fusion.seeding`).

    Raises:
        ValueError: its layout is not for images of that size.
    """
    return DfqGenerator(settings, spec) if settings.layout == "dfq" else NayerGenerator(settings, spec)


def check_size(settings: GeneratorSettings, size: int) -> None:
    """Nothing, if there is such a generator for images so wide.

    Raises:
        ValueError: there is none.
    """
    if settings.layout == "nayer" and size % (factor := 2 ** (len(_table(size)) - 1)):
        raise ValueError(f"'nayer' makes no images {size} pixels wide, which is no multiple of {factor}")


@torch.no_grad()
def take_singular_vectors(generator: Generator, source: Generator) -> None:
    """Let a generator whose weights follow another's without a forward pass of its own, which alone moves the
    estimates, have the other's."""
    theirs = dict(source.named_buffers())
    for name, own in generator.named_buffers():
        if "parametrizations" in name:
            own.copy_(theirs[name])


def _table(size: int) -> tuple[int, ...]:
    return TABLE_1 if size <= LARGEST_OF_TABLE_1 else TABLE_2


def _spectral(convolution: nn.Conv2d) -> nn.Module:
    return parametrizations.spectral_norm(convolution)
