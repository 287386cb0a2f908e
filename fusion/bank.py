"""A bounded bank of finished images, from which the assistant and the student learn under methods that
invert."""

import torch
from torch import Tensor, nn

from fusion.networks import ImageSpec

STORED = torch.float16
"""Eleven significant bits: finer than the 8-bit files that the sources keep, at half the size of float32."""


class ImageBank(nn.Module):
    """The newest `size` images that were added, oldest overwritten first. All of it is state."""

    images: Tensor
    features: Tensor
    count: Tensor

    def __init__(self, size: int, spec: ImageSpec, feature_shape: tuple[int, ...] = (0,)) -> None:
        """With every image goes a vector, or several, of `feature_shape`."""
        super().__init__()
        shape = (size, spec.channels, spec.size, spec.size)
        self.register_buffer("images", torch.zeros(shape, dtype=STORED))
        self.register_buffer("features", torch.zeros((size, *feature_shape), dtype=STORED))
        self.register_buffer("count", torch.tensor(0))
        self.size = size

    @torch.no_grad()
    def add(self, images: Tensor, features: Tensor | None = None) -> None:
        """Keep images [count, channels, size, size], at most `size` of them, and their features."""
        assert len(images) <= self.size
        added = int(self.count) + torch.arange(len(images), device=self.images.device)
        self.images[added % self.size] = images.to(STORED)
        if features is not None:
            self.features[added % self.size] = features.to(STORED)
        self.count += len(images)

    def filled(self) -> int:
        """How many images it holds."""
        return min(int(self.count), self.size)

    def draw(self, count: int, stream: torch.Generator) -> Tensor:
        """The places of `count` of its images, or of all if these are fewer: none twice, all alike likely."""
        return torch.randperm(self.filled(), generator=stream, device=self.images.device)[:count]

    def sample(self, count: int, stream: torch.Generator) -> Tensor:
        """That many images, float32."""
        return self.images[self.draw(count, stream)].float()
