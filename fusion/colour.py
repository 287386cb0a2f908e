"""torchvision's four colour transforms with a factor for every image of a batch."""

from collections.abc import Callable

import torch
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Images [batch, channels, height, width] in [0, 1] blended with black; `factor` is [batch, 1, 1, 1]."""
    return (images * factor).clamp(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blended with the mean grey of each image."""
    return _blend(images, grey(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Colour images blended with their grey ones."""
    return _blend(images, grey(images), factor)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Colour images, their hue turned by `shift` of a full circle."""
    red, green, blue = images.unbind(1)
    value, chroma = images.amax(1), images.amax(1) - images.amin(1)
    safe = torch.where(chroma == 0, 1.0, chroma)
    sector = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    )
    turned = (sector / 6 + shift.squeeze(1)) % 1.0 * 6
    # A channel is `value` less `chroma` times its distance from the sectors in which it is the largest.
    distance = [((turned + offset) % 6) for offset in (5.0, 3.0, 1.0)]
    return torch.stack([value - chroma * torch.minimum(d, 4 - d).clamp(0, 1) for d in distance], dim=1)


def grey(images: Tensor) -> Tensor:
    """The luma of colour images; grey images as they are. Keeps the channel dimension."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def _blend(images: Tensor, others: Tensor, factor: Tensor) -> Tensor:
    return (factor * images + (1 - factor) * others).clamp(0, 1)


def transforms(channels: int) -> tuple[Callable[[Tensor, Tensor], Tensor], ...]:
    """Those that change images of so many channels."""
    return (brightness, contrast) if channels == 1 else (brightness, contrast, saturation, hue)
