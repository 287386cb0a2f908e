"""The student's augmentation: torchvision's transforms, drawn anew for every image, in one pass over a batch.

torchvision draws once a batch and from the global stream; here each image has its own draw from a given
stream.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fusion.colour import transforms
from fusion.settings import Settings, setting

ASPECT_RATIO = (3 / 4, 4 / 3)
CROP_TRIES = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation(Settings):
    """What happens to an image before the teachers and the student look at it. The defaults are the
    paper's."""

    rotation: float = setting(10.0, "Largest rotation in degrees; 0 leaves it out.", at_least=0, at_most=180)
    crop: float = setting(
        0.8, "Smallest share of the area that a resized crop keeps; 1 leaves it out.", above=0, at_most=1
    )
    flip: float = setting(0.5, "Probability of a horizontal flip.", at_least=0, at_most=1)
    jitter: float = setting(
        0.1,
        "Range of brightness, contrast, saturation and hue jitter; 0 leaves it out.",
        at_least=0,
        at_most=0.5,
    )
    jitter_probability: float = setting(
        0.2, "Probability that an image's colours are jittered.", at_least=0, at_most=1
    )


def augment(images: Tensor, settings: Augmentation, stream: torch.Generator) -> Tensor:
    """Images [batch, channels, size, size] in the common space, transformed; drawn from `stream`.

    Rotation takes the nearest pixel and fills with black; the crop is resized bilinearly; a jittered image is
    first clamped to [0, 1], as the colour transforms require.
    """
    if settings.rotation > 0:
        images = _rotate(images, settings.rotation, stream)
    if settings.crop < 1 or settings.flip > 0:
        boxes = crop_boxes(len(images), images.shape[-1], settings.crop, stream)
        flips = _uniform(len(images), stream) < settings.flip
        images = resized_crop(images, boxes, flips)
    if settings.jitter > 0:
        images = _jitter(images, settings.jitter, settings.jitter_probability, stream)
    return images


def crop_boxes(count: int, size: int, smallest_area: float, stream: torch.Generator) -> Tensor:
    """Boxes [count, 4] as (top, left, height, width) in pixels, with the law of torchvision's
    RandomResizedCrop."""
    shape = (count, CROP_TRIES)
    areas = size * size * (smallest_area + (1 - smallest_area) * _uniform(shape, stream))
    low, high = (math.log(ratio) for ratio in ASPECT_RATIO)
    ratios = (low + (high - low) * _uniform(shape, stream)).exp()
    widths = (areas * ratios).sqrt().round()
    heights = (areas / ratios).sqrt().round()
    fits = (widths >= 1) & (widths <= size) & (heights >= 1) & (heights <= size)
    first = fits.int().argmax(dim=1, keepdim=True)
    found = fits.any(dim=1)
    width = torch.where(found, widths.gather(1, first).squeeze(1), size)
    height = torch.where(found, heights.gather(1, first).squeeze(1), size)
    top = (_uniform(count, stream) * (size - height + 1)).floor()
    left = (_uniform(count, stream) * (size - width + 1)).floor()
    return torch.stack([top, left, height, width], dim=1)


def resized_crop(images: Tensor, boxes: Tensor, flips: Tensor) -> Tensor:
    """Each image's box, enlarged bilinearly to the whole image, mirrored where `flips` says so."""
    size = images.shape[-1]
    top, left, height, width = (column.view(-1, 1) for column in boxes.unbind(1))
    centres = (torch.arange(size, device=images.device, dtype=torch.float32) + 0.5) / size
    # Bilinear resizing looks at no pixel outside the box.
    rows = torch.minimum((centres * height - 0.5).clamp(min=0), height - 1) + top
    columns = torch.minimum((centres * width - 0.5).clamp(min=0), width - 1) + left
    columns = torch.where(flips.view(-1, 1), columns.flip(1), columns)
    return _sample(images, rows, columns)


def padded_crop(images: Tensor, padding: int, stream: torch.Generator) -> Tensor:
    """Each image moved by up to `padding` pixels in both directions, black coming in, and mirrored with
    probability one half; drawn from `stream`."""
    count, channels, size, _ = images.shape
    top, left = torch.randint(2 * padding + 1, (2, count, 1), generator=stream, device=stream.device)
    flips = _uniform((count, 1), stream) < 0.5
    places = torch.arange(size, device=images.device)
    rows, columns = top + places, left + torch.where(flips, places.flip(0), places)
    x = F.pad(images, [padding] * 4)
    x = x.gather(2, rows.view(count, 1, size, 1).expand(-1, channels, -1, size + 2 * padding))
    return x.gather(3, columns.view(count, 1, 1, size).expand(-1, channels, size, -1))


def _sample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear values at the crossings of each image's `rows` and `columns`, in pixels."""
    size = images.shape[-1]
    scale = 2.0 / max(size - 1, 1)
    grid = torch.stack(
        [
            (columns * scale - 1).unsqueeze(1).expand(-1, size, -1),
            (rows * scale - 1).unsqueeze(2).expand(-1, -1, size),
        ],
        dim=3,
    )
    return F.grid_sample(
        images, grid.to(images.dtype), mode="bilinear", padding_mode="border", align_corners=True
    )


def _rotate(images: Tensor, degrees: float, stream: torch.Generator) -> Tensor:
    angles = torch.deg2rad((2 * _uniform(len(images), stream) - 1) * degrees)
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    matrices = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = F.affine_grid(matrices.to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def _jitter(images: Tensor, strength: float, probability: float, stream: torch.Generator) -> Tensor:
    """torchvision's ColorJitter on each image with `probability`: four colour transforms in a random
    order."""
    chosen = (_uniform(len(images), stream) < probability).nonzero().squeeze(1)
    factors = 1 + strength * (2 * _uniform((len(images), 3), stream) - 1)
    hues = strength * (2 * _uniform(len(images), stream) - 1)
    orders = _uniform((len(images), 4), stream).argsort(dim=1)
    if len(chosen) == 0:
        return images
    picked, orders = images[chosen].clamp(0, 1), orders[chosen]
    strengths = torch.cat([factors, hues.unsqueeze(1)], dim=1)[chosen]
    for position in range(4):
        for index, transform in enumerate(transforms(images.shape[1])):
            where = (orders[:, position] == index).nonzero().squeeze(1)
            changed = transform(picked[where], strengths[where, index].view(-1, 1, 1, 1))
            picked = picked.index_copy(0, where, changed)
    return images.index_copy(0, chosen, picked)


def _uniform(shape: int | tuple[int, ...], stream: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=stream, device=stream.device)
