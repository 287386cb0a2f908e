"""The small ResNet family for CIFAR and smaller images: ResNet-20 and its relatives."""

import torch.nn.functional as F
from torch import Tensor, nn

from fusion.networks.classifier import Network, initialise_convolutions


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            convolution = nn.Conv2d(channels, width, kernel_size=1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


class CifarResNet(Network):
    """The 6n+2-layer family of He et al. (2016), Section 4.2, with projection shortcuts (option B).

    Three stages of `blocks` blocks with `width`, 2 `width` and 4 `width` channels; the second and third
    halve the map.
    """

    def __init__(self, *, blocks: int, width: int, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        stages = []
        for stage in range(3):
            inputs = width if stage == 0 else width * 2 ** (stage - 1)
            outputs = width * 2**stage
            first = _Block(inputs, outputs, stride=1 if stage == 0 else 2)
            stages.append(
                nn.Sequential(first, *(_Block(outputs, outputs, stride=1) for _ in range(blocks - 1)))
            )
        self.layer1, self.layer2, self.layer3 = stages
        self.feature_channels = 4 * width
        self.fc = nn.Linear(self.feature_channels, classes)
        initialise_convolutions(self)

    def feature_map(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        return self.layer3(self.layer2(self.layer1(x)))  # type: ignore[no-any-return]

    def classify(self, features: Tensor) -> Tensor:
        return self.fc(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]
