"""Images from finished generators, to measure on where there are no labelled ones."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fusion.assembly import FusionSettings
from fusion.generator import Generator
from fusion.networks import ImageSpec
from fusion.seeding import random_stream

HELD_OUT_IMAGES = 512


@torch.no_grad()
def held_out_images(
    generators: Sequence[Mapping[str, Tensor]], specs: Sequence[ImageSpec], settings: FusionSettings
) -> Tensor:
    """512 images of each generator (its state, its teacher's spec) from noise that no training saw.

    One generator after the other; uint8 [count, channels, size, size], clipped to the common space.
    """
    parts = []
    for index, (state, spec) in enumerate(zip(generators, specs, strict=True)):
        generator = Generator(settings.generator, spec)
        generator.load_state_dict(dict(state))
        stream = random_stream(torch.device("cpu"), settings.seed, "held-out", index)
        noise = torch.randn(HELD_OUT_IMAGES, settings.generator.latent_dim, generator=stream)
        images = generator.train(settings.generator.sampling == "batch")(noise)
        parts.append((images.clamp(0, 1) * 255).round().to(torch.uint8))
    return torch.cat(parts)
