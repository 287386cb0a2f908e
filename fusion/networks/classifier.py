"""What every classifier here offers: a last convolutional map, logits computed from it, and its own
normalisation."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Prediction(NamedTuple):
    """What a classifier says of a batch of images."""

    logits: Tensor
    """[batch, classes]"""
    features: Tensor
    """The last convolutional map: [batch, channels, height, width]"""


class Network(nn.Module):
    """A classifier in two halves, so that VID can look at what lies between them."""

    feature_channels: int

    def feature_map(self, images: Tensor) -> Tensor:
        """Normalised images [batch, channels, height, width] to the last convolutional map."""
        raise NotImplementedError

    def classify(self, features: Tensor) -> Tensor:
        """The last convolutional map to logits [batch, classes]."""
        raise NotImplementedError

    def predict(self, images: Tensor) -> Prediction:
        """Normalised images to both, in one pass."""
        features = self.feature_map(images)
        return Prediction(self.classify(features), features)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images to logits, as any PyTorch classifier."""
        return self.classify(self.feature_map(images))


def initialise_convolutions(module: nn.Module) -> None:
    """He initialisation of every convolution in `module`; nothing on the meta device, where weights are only
    shapes and PyTorch would import its compiler to draw them (three seconds of every process)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and not layer.weight.is_meta:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


class Classifier(nn.Module):
    """A network that normalises for itself.

    Images live in one common space, in which real pixels lie in [0, 1]; networks trained with different mean
    and standard deviation can therefore look at the same images. Only `network` has state: mean and deviation
    stand in the classifier's card.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer(
            "mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False
        )
        self.register_buffer(
            "std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False
        )

    def forward(self, images: Tensor) -> Prediction:
        """Images in the common space, [batch, channels, height, width]."""
        return self.network.predict((images - self.mean) / self.std)


def frozen(classifier: Classifier) -> Classifier:
    """The same classifier in evaluation mode with gradients for its input only; its statistics cannot
    change."""
    return classifier.eval().requires_grad_(False)
