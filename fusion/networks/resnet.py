"""ResNets: torchvision's with the ImageNet or the CIFAR stem, and the small CIFAR family (ResNet-20 and
relatives)."""

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from fusion.networks.classifier import Network

CIFAR_STEM_MAX_SIZE = 64
"""Up to this image size a large ResNet gets the CIFAR stem: a 3x3 convolution with stride 1 and no
pooling."""


class ResNet(TorchvisionResNet, Network):  # type: ignore[misc]  # torchvision has no types
    """torchvision's ResNet, with torchvision's parameter names."""

    conv1: nn.Conv2d
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module
    avgpool: nn.Module
    fc: nn.Linear

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: list[int],
        *,
        channels: int,
        classes: int,
        image_size: int,
    ) -> None:
        super().__init__(block, layers, num_classes=classes)
        self.feature_channels = self.fc.in_features
        small = image_size <= CIFAR_STEM_MAX_SIZE
        if small:
            self.conv1 = nn.Conv2d(channels, 64, kernel_size=3, padding=1, bias=False)
            self.maxpool = nn.Identity()
        elif channels != 3:
            self.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        if small or channels != 3:
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")

    def feature_map(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))  # type: ignore[no-any-return]

    def classify(self, features: Tensor) -> Tensor:
        return self.fc(self.avgpool(features).flatten(1))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        return Network.forward(self, images)


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
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


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
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def feature_map(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(images)))
        return self.layer3(self.layer2(self.layer1(x)))  # type: ignore[no-any-return]

    def classify(self, features: Tensor) -> Tensor:
        return self.fc(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]
