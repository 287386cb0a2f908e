"""The DFQ generator (Choi et al., 2020): one linear layer, then upsampling and convolution, for any square
size."""

import dataclasses
import itertools
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion.networks import ImageSpec
from fusion.settings import Settings, setting

LARGEST_START = 8
"""The linear layer's map is at most this wide; larger images get more than three upsamplings."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratorSettings(Settings):
    """Size and output of every party's generator."""

    latent_dim: int = setting(512, "Length of the noise vector z.", at_least=1)
    width: int = setting(
        512, "Channels of the linear layer's map; halved by each upsampling down to an eighth.", at_least=8
    )
    output: Literal["batchnorm", "sigmoid"] = setting(
        "batchnorm",
        "Last layer: 'batchnorm' is DFQ's tanh and BatchNorm without affine (each channel has the mean and "
        "deviation that the teacher's normalisation names); 'sigmoid' gives pixels in [0, 1].",
    )
    sampling: Literal["batch", "running"] = setting(
        "batch",
        "Statistics of the generator's BatchNorm layers when it only synthesises images (for the assistant "
        "and the student): those of the batch, or the running averages that its own updates leave.",
    )


class Generator(nn.Module):
    """Noise [batch, latent_dim] to images [batch, channels, size, size] in the common space of
    `Classifier`."""

    mean: Tensor
    std: Tensor

    def __init__(self, settings: GeneratorSettings, spec: ImageSpec) -> None:
        super().__init__()
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
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, -1, 1, 1), persistent=False)

    def forward(self, noise: Tensor) -> Tensor:
        x = self.linear(noise).view(-1, *self.start)
        for size, convolution, norm in zip(self.sizes[1:], self.convolutions, self.norms, strict=True):
            x = convolution(F.interpolate(x, size=(size, size), mode="nearest"))
            x = F.relu(norm(x), inplace=True)
        pixels = self.to_pixels(x).float()  # Images are float32, also inside autocast.
        if self.last_norm is None:
            return torch.sigmoid(pixels)
        return self.last_norm(torch.tanh(pixels)) * self.std + self.mean  # type: ignore[no-any-return]
