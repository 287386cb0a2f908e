"""Training a teacher, or the gold standard, on labelled images with the paper's recipe (Section 4.1,
supplement 4)."""

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fusion.compute import Compute
from fusion.networks import Classifier, ImageSpec, build_classifier
from fusion.schedule import set_lr
from fusion.seeding import random_stream, seeded_initialisation
from fusion.settings import Settings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """How a classifier is trained on real images. The defaults are the paper's for CIFAR."""

    epochs: int = setting(200, "Passes over the training images.", at_least=1)
    batch_size: int = setting(256, "Images in a batch.", at_least=1)
    lr: float = setting(0.1, "Initial learning rate.", above=0)
    milestones: tuple[int, ...] = setting(
        (80, 120), "Epochs at which the learning rate is divided by ten.", at_least=0
    )
    momentum: float = setting(0.9, "Nesterov momentum.", above=0, below=1)
    weight_decay: float = setting(5e-4, "Weight decay.", at_least=0)
    crop_padding: int = setting(
        4, "Pixels by which a random crop may shift an image; 0 leaves it out.", at_least=0
    )
    flip: float = setting(0.5, "Probability of a horizontal flip.", at_least=0, at_most=1)


def train_classifier(
    network: str,
    spec: ImageSpec,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    seed: int,
    name: str,
    device: torch.device,
    observe: Callable[[int], None] = lambda _: None,
) -> Classifier:
    """Train `network` from scratch: Nesterov SGD with steps in the learning rate, cross-entropy.

    `images` are uint8 [count, channels, size, size], `labels` int64 [count]. `name` separates the random
    streams of classifiers that share a seed. `observe` is called after each epoch with its number, from 0.
    """
    with seeded_initialisation(seed, "teacher", name):
        classifier = build_classifier(network, spec)
    Compute().place(classifier, device)
    stream = random_stream(device, seed, "pretraining", name)
    images, labels = images.to(device), labels.to(device)
    optimiser = torch.optim.SGD(
        classifier.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    classifier.train()
    for epoch in range(recipe.epochs):
        set_lr(optimiser, recipe.lr * 0.1 ** sum(epoch >= milestone for milestone in recipe.milestones))
        order = torch.randperm(len(images), generator=stream, device=device)
        for batch in order.split(recipe.batch_size):
            if len(batch) < 2:  # BatchNorm needs two images to train on.
                continue
            pixels = random_shift(images[batch].float() / 255, recipe.crop_padding, recipe.flip, stream)
            loss = F.cross_entropy(classifier(pixels).logits.float(), labels[batch])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        observe(epoch)
    return classifier.eval()


def random_shift(images: Tensor, padding: int, flip: float, stream: torch.Generator) -> Tensor:
    """torchvision's RandomCrop(size, padding) and RandomHorizontalFlip, drawn anew for every image."""
    count, _, size, _ = images.shape
    where = torch.arange(size, device=images.device)
    offsets = torch.randint(0, 2 * padding + 1, (2, count), generator=stream, device=images.device)
    rows = where + offsets[0].unsqueeze(1)
    columns = where + offsets[1].unsqueeze(1)
    mirrored = torch.rand(count, generator=stream, device=images.device) < flip
    columns = torch.where(mirrored.unsqueeze(1), columns.flip(1), columns)
    padded = F.pad(images, (padding,) * 4)
    index = torch.arange(count, device=images.device).view(-1, 1, 1)
    return (
        padded.permute(0, 2, 3, 1)[index, rows.unsqueeze(2), columns.unsqueeze(1)]
        .permute(0, 3, 1, 2)
        .contiguous()
    )
