"""Images from finished parties, to measure on where there are no labelled ones."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fusion.assembly import FusionSettings
from fusion.bank import ImageBank
from fusion.generator import Generator
from fusion.networks import ImageSpec
from fusion.seeding import random_stream

HELD_OUT_IMAGES = 512


@torch.no_grad()
def held_out_images(
    parts: Sequence[Mapping[str, Tensor]], specs: Sequence[ImageSpec], settings: FusionSettings
) -> Tensor:
    """Up to 512 images of each party, of its generator from noise that no training saw; or of its bank,
    where the method has one, whose images were trained on.

    `parts` are the states of either, by `Method.images_from`, `specs` those of the teachers. One party after
    the other; uint8 [count, channels, size, size], clipped to the common space.
    """
    found = []
    for index, (state, spec) in enumerate(zip(parts, specs, strict=True)):
        stream = random_stream(torch.device("cpu"), settings.seed, "held-out", index)
        if settings.method.images_from == "bank":
            bank = ImageBank(len(state["images"]), spec, tuple(state["features"].shape[1:]))
            bank.load_state_dict(dict(state))
            images = bank.sample(HELD_OUT_IMAGES, stream)
        else:
            generator = Generator(settings.generator, spec)
            generator.load_state_dict(dict(state))
            noise = torch.randn(HELD_OUT_IMAGES, settings.generator.latent_dim, generator=stream)
            images = generator.train(settings.generator.sampling == "batch")(noise)
        found.append((images.clamp(0, 1) * 255).round().to(torch.uint8))
    return torch.cat(found)
