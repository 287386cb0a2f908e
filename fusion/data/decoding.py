"""Encoded images, from files or the cells of a column, as tensors."""

import io
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from fusion.data.labelled import DataError


def decode(
    encoded: Iterable[bytes | None], names: list[str], size: int | None, channels: int | None = None
) -> Tensor:
    """Encoded images to uint8 [count, channels, size, size]; by default one channel if all are grey, else
    three. Of 16 bits the upper eight are kept.

    Raises:
        DataError: one of them, called as in `names`, is not readable; or they differ in size.
    """
    decoded = []
    for name, data in zip(names, encoded, strict=True):
        try:
            image = _eight_bits(Image.open(io.BytesIO(data or b"")))
            grey = image.mode == "L" if channels is None else channels == 1
            image = image.convert("L" if grey else "RGB")
        except (UnidentifiedImageError, OSError, TypeError, ValueError) as error:
            raise DataError(f"{name}: no readable image ({first_line(error)})") from error
        if size is not None:
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        decoded.append(torch.from_numpy(pixels.copy()).view(*pixels.shape[:2], -1).permute(2, 0, 1))
    if not decoded:
        raise DataError("there is no image")
    shapes = {tuple(image.shape[1:]) for image in decoded}
    if len(shapes) > 1 or any(height != width for height, width in shapes):
        raise DataError(
            f"{names[0].split(',')[0]}: images are not all square and of one size; set 'image_size'"
        )
    most = max(len(image) for image in decoded)
    return torch.stack([image.expand(most, -1, -1) for image in decoded])


def _eight_bits(file: Image.Image) -> Image.Image:
    """Pillow's own conversion clips what has more; grey comes as "L", everything else as it is.

    Raises:
        ValueError: 32 bits a pixel.
    """
    if file.mode in ("I", "F"):
        raise ValueError("32 bits a pixel")
    if file.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(file) >> 8).astype(np.uint8))
    return file.convert("L") if file.mode == "1" else file


def first_line(error: Exception) -> str:
    """What an error says, or its name."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
