"""Images from finished parties, to measure on where there are no labelled ones, or to keep."""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from fusion.assembly import FusionSettings
from fusion.bank import ImageBank
from fusion.generator import Generator, build_generator
from fusion.networks import ImageSpec
from fusion.seeding import random_stream

HELD_OUT_IMAGES = 512
LARGEST_AT_ONCE = 32
"""Width of images of which all 512 go through a generator at once; of larger ones fewer do, but no fewer than
32, since a generator may sample with their statistics."""
BATCH = 256
"""Images that are synthesised together; part of what decides them where a generator samples with the
statistics of the batch."""
CPU = torch.device("cpu")


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
        stream = random_stream(CPU, settings.seed, "held-out", index)
        if settings.method.images_from == "bank":
            images = _bank(state, spec).sample(HELD_OUT_IMAGES, stream)
        else:
            noise = torch.randn(HELD_OUT_IMAGES, settings.generator.latent_dim, generator=stream)
            generator = _generator(state, spec, settings)
            images = torch.cat([generator(some) for some in noise.chunk(_shares(spec.size))])
        found.append(_pixels(images))
    return torch.cat(found)


@torch.no_grad()
def synthetic_images(
    index: int,
    state: Mapping[str, Tensor],
    spec: ImageSpec,
    settings: FusionSettings,
    count: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """`count` images of party `index` in batches of at most 256, uint8 [batch, channels, size, size] on the
    CPU: of its generator, from noise that no training saw; or those of its bank, as many as there are.

    `state` is as in `held_out_images`. The first images are the same whatever the count is.
    """
    if settings.method.images_from == "bank":
        bank = _bank(state, spec)
        yield from (_pixels(one.float()) for one in bank.images[: bank.filled()][:count].split(BATCH))
        return
    generator = _generator(state, spec, settings).to(device)
    for step, first in enumerate(range(0, count, BATCH)):
        stream = random_stream(CPU, settings.seed, "data-set", index, step)
        noise = torch.randn(BATCH, settings.generator.latent_dim, generator=stream)
        yield _pixels(generator(noise.to(device)))[: count - first].cpu()


def check_maker(state: Mapping[str, Tensor], spec: ImageSpec, settings: FusionSettings) -> None:
    """Whether `state` is that of a generator, or bank, as the settings have it.

    Raises:
        RuntimeError, KeyError: it is not.
    """
    if settings.method.images_from == "bank":
        _bank(state, spec)
    else:
        _generator(state, spec, settings)


def _shares(size: int) -> int:
    """In how many equal shares the 512 images are synthesised."""
    return min(HELD_OUT_IMAGES // 32, math.ceil((size / LARGEST_AT_ONCE) ** 2))


def _generator(state: Mapping[str, Tensor], spec: ImageSpec, settings: FusionSettings) -> Generator:
    generator = build_generator(settings.generator, spec)
    generator.load_state_dict(dict(state))
    return generator.train(settings.generator.sampling == "batch")


def _bank(state: Mapping[str, Tensor], spec: ImageSpec) -> ImageBank:
    bank = ImageBank(len(state["images"]), spec, tuple(state["features"].shape[1:]))
    bank.load_state_dict(dict(state))
    return bank


def _pixels(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)
