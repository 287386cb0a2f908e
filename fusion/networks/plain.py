"""Networks without shortcuts: VGG-11 with and without BatchNorm, and an AlexNet-like one without."""

import torch.nn.functional as F
from torch import Tensor, nn

from fusion.networks.classifier import Network, initialise_convolutions


class PlainNetwork(Network):
    """A stack of convolutions, then one hidden layer on the globally averaged map."""

    def __init__(self, features: nn.Sequential, feature_channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.features = features
        self.feature_channels = feature_channels
        self.hidden = nn.Linear(feature_channels, hidden)
        self.fc = nn.Linear(hidden, classes)
        initialise_convolutions(self)

    def feature_map(self, images: Tensor) -> Tensor:
        return self.features(images)  # type: ignore[no-any-return]

    def classify(self, features: Tensor) -> Tensor:
        return self.fc(F.relu(self.hidden(features.mean(dim=(2, 3)))))  # type: ignore[no-any-return]


def vgg11(*, channels: int, classes: int, image_size: int, batch_norm: bool) -> PlainNetwork:
    """torchvision's VGG-11 convolutions; below 32 pixels the poolings that would empty the map are left
    out."""
    from torchvision.models.vgg import cfgs, make_layers  # Slow to import.

    layers: list[nn.Module] = []
    size = image_size
    for layer in make_layers(cfgs["A"], batch_norm=batch_norm):
        if isinstance(layer, nn.MaxPool2d):
            if size < 2:
                continue
            size //= 2
        layers.append(layer)
    if channels != 3:
        layers[0] = nn.Conv2d(channels, 64, kernel_size=3, padding=1)
    return PlainNetwork(nn.Sequential(*layers), feature_channels=512, hidden=512, classes=classes)


def alexnet(*, channels: int, classes: int, width: int = 64) -> PlainNetwork:
    """Five convolutions in AlexNet's proportions, for images of 8 pixels and more, without BatchNorm and
    dropout."""
    layers = [
        *(nn.Conv2d(channels, width, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(width, 3 * width, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(3 * width, 6 * width, kernel_size=3, padding=1), nn.ReLU()),
        *(nn.Conv2d(6 * width, 4 * width, kernel_size=3, padding=1), nn.ReLU()),
        *(nn.Conv2d(4 * width, 4 * width, kernel_size=3, padding=1), nn.ReLU()),
    ]
    return PlainNetwork(nn.Sequential(*layers), feature_channels=4 * width, hidden=8 * width, classes=classes)
