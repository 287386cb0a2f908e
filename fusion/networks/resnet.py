"""torchvision's ResNet-18, -34 and -50 with the ImageNet or the CIFAR stem.

Importing torchvision takes longer than importing PyTorch: this module is imported when one of them is built.
"""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from fusion.networks.classifier import Network, initialise_convolutions

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
            initialise_convolutions(self.conv1)

    def feature_map(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))  # type: ignore[no-any-return]

    def classify(self, features: Tensor) -> Tensor:
        return self.fc(self.avgpool(features).flatten(1))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        return Network.forward(self, images)


BLOCKS: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
}


def resnet(name: str, *, channels: int, classes: int, image_size: int) -> ResNet:
    """The ResNet of that name."""
    block, layers = BLOCKS[name]
    return ResNet(block, layers, channels=channels, classes=classes, image_size=image_size)
