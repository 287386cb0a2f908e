"""Wide residual networks for CIFAR: WRN-16-2 and WRN-40-2."""

import torch.nn.functional as F
from torch import Tensor, nn

from fusion.networks.classifier import Network, initialise_convolutions


class _Block(nn.Module):
    """Pre-activation; a shortcut that changes the shape starts from the activated input."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.shortcut: nn.Conv2d | None = None
        if channels != width:
            self.shortcut = nn.Conv2d(channels, width, kernel_size=1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x), inplace=True)
        y = F.relu(self.bn2(self.conv1(active)), inplace=True)
        past: Tensor = x if self.shortcut is None else self.shortcut(active)
        return past + self.conv2(y)  # type: ignore[no-any-return]


class WideResNet(Network):
    """WRN-`depth`-`widen` of Zagoruyko and Komodakis (2016), without dropout.

    Three stages of (depth - 4) / 6 blocks with 16, 32 and 64 times `widen` channels; the second and third
    halve the map.
    """

    def __init__(self, *, depth: int, widen: int, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, kernel_size=3, padding=1, bias=False)
        widths = [16, *(16 * widen * 2**stage for stage in range(3))]
        stages = []
        for stage in range(3):
            inputs, outputs = widths[stage : stage + 2]
            first = _Block(inputs, outputs, stride=1 if stage == 0 else 2)
            others = (_Block(outputs, outputs, stride=1) for _ in range((depth - 4) // 6 - 1))
            stages.append(nn.Sequential(first, *others))
        self.layer1, self.layer2, self.layer3 = stages
        self.bn = nn.BatchNorm2d(widths[-1])
        self.feature_channels = widths[-1]
        self.fc = nn.Linear(self.feature_channels, classes)
        initialise_convolutions(self)

    def feature_map(self, images: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(images))))
        return F.relu(self.bn(x), inplace=True)

    def classify(self, features: Tensor) -> Tensor:
        return self.fc(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]
