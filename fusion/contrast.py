"""Contrastive model inversion (Fang et al., IJCAI 2021): a fresh generator for every batch, whose images are
to be told apart from each other and from those in the bank."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from fusion.augmentation import crop_boxes, padded_crop, resized_crop
from fusion.bank import ImageBank
from fusion.generator import Generator
from fusion.inversion import Banked, Smallest, drawn_seed, start_afresh
from fusion.networks import Classifier, ImageSpec
from fusion.synthesiser import Examine, Means, Minimise

SMALLEST_AREA = 0.25
"""Share of an image that its local view shows at least."""


class ProjectionHead(nn.Module):
    """A small network between features and what is compared of them: h of CMI."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, channels)
        self.embed = nn.Linear(channels, width)

    def forward(self, features: Tensor) -> Tensor:
        """Features [count, channels] to embeddings [count, width] of length one."""
        return F.normalize(self.embed(F.relu(self.hidden(features))).float(), dim=1)


class ContrastiveInversion(Banked):
    """Its generator and noise are done with when a batch is; the head learns on from batch to batch."""

    def __init__(
        self,
        bank: ImageBank,
        spec: ImageSpec,
        means: Means,
        *,
        teacher: Classifier,
        head: ProjectionHead,
        generator: Generator,
        steps: int,
        contrasted: int,
    ) -> None:
        """`bank` has room for the features of two views, [2, channels]; of its images up to `contrasted` are
        told apart in an update."""
        super().__init__(bank, spec, means)
        self._teacher, self._steps, self._contrasted = teacher, steps, contrasted
        self.head, self._generator = head, generator
        for module in (head, generator):
            means.compute.place(module, means.device)
        rate = means.optimisation.generator_lr
        self._head_optimiser = torch.optim.Adam(head.parameters(), lr=rate, fused=True)

    def update(self, stream: torch.Generator, examine: Examine, minimise: Minimise) -> None:
        """One inversion, of which the bank keeps the images with the smallest objective."""
        start_afresh(self._generator, self._means.generator, self._spec, drawn_seed(stream))
        self._generator.train()
        shape = (self._batch_size, self._means.generator.latent_dim)
        noise = nn.Parameter(torch.randn(shape, generator=stream, device=self._device))
        labels = self.draw_labels(stream)
        optimiser = self._means.optimisation.generator([*self._generator.parameters(), noise])
        best = Smallest()
        for _ in range(self._steps):
            with self._means.compute.autocast(self._device):
                images = self._generator(noise)
            said = examine(padded_crop(images, self._spec.size // 8, stream))
            assert said.teacher_features is not None
            features = torch.stack([self._local_features(images, stream), _pooled(said.teacher_features)], 1)
            views = self._embed(features, stream)
            found = minimise(
                dataclasses.replace(said, labels=labels, views=views), optimiser, self._head_optimiser
            )
            best.note(found, images, features)
        self.bank.add(*best.kept)

    def modules(self) -> dict[str, nn.Module]:
        """The bank and the head."""
        return {**super().modules(), "head": self.head}

    def optimisers(self) -> dict[str, Optimizer]:
        """The head's."""
        return {"head_optimiser": self._head_optimiser}

    def _local_features(self, images: Tensor, stream: torch.Generator) -> Tensor:
        """Of a part of each image, enlarged and perhaps mirrored: [batch, channels]."""
        boxes = crop_boxes(len(images), self._spec.size, SMALLEST_AREA, stream)
        flips = torch.rand(len(images), generator=stream, device=self._device) < 0.5
        with self._means.compute.autocast(self._device):
            return _pooled(self._teacher(resized_crop(images, boxes, flips)).features)

    def _embed(self, features: Tensor, stream: torch.Generator) -> tuple[Tensor, Tensor]:
        """Both views of the batch, then of images from the bank: [batch + others, width] each."""
        earlier = self.bank.features[self.bank.draw(self._contrasted, stream)].float()
        both = torch.cat([features, earlier])
        with self._means.compute.autocast(self._device):
            local, whole = self.head(both.flatten(0, 1)).unflatten(0, both.shape[:2]).unbind(1)
        return local, whole


def _pooled(features: Tensor) -> Tensor:
    return features.float().mean(dim=(2, 3))
