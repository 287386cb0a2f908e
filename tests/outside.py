"""What the tests of other people's files share: small networks, and what a person says of a file."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from fusion.outside import Outside, read_outside
from fusion.seeding import seeded_initialisation

CLASSES = ["a", "b", "c", "d"]
SMALL = "torchvision:shufflenet_v2_x0_5"
GIVEN: dict[str, Any] = {
    "network": SMALL,
    "classes": CLASSES,
    "image_size": 32,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.2, 0.2],
}


class HomeMade(nn.Module):
    """A network that knows nothing of us: one ReLU for all, pooling in its forward pass, a drawn
    parameter."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 2 * width, 3, padding=1)
        self.norm = nn.BatchNorm2d(2 * width)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(2 * width, classes)
        self.scale = nn.Parameter(1 + 0.1 * torch.randn(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images to logits."""
        x = self.relu(self.norm(self.conv2(self.relu(self.conv1(x)))))
        return self.head(self.drop(self.scale * x.mean(dim=(2, 3))))  # type: ignore[no-any-return]


def home_made(width: int = 4, classes: int = 4) -> HomeMade:
    """What a user names as tests.outside:home_made."""
    return HomeMade(width, classes)


def torchvisions(name: str = "shufflenet_v2_x0_5", seed: int = 0) -> nn.Module:
    """A classifier as torchvision builds it, with statistics that are not those of an untrained one."""
    from torchvision.models import get_model

    with seeded_initialisation(seed, name):
        model: nn.Module = get_model(name, weights=None, num_classes=len(CLASSES))
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 1.5)
    return model.eval()


def read(path: Path, **changes: Any) -> Outside:
    """Read it with what `GIVEN` says; None takes a key away."""
    given = {key: value for key, value in (GIVEN | changes).items() if value is not None}
    return read_outside(path, given, allow_code=bool(given.pop("allow_code", False)))


def same_logits(outside: Outside, model: nn.Module) -> bool:
    """Whether the teacher says what the original says, which normalises not for itself."""
    spec = outside.teacher.spec
    images = torch.rand(2, spec.channels, spec.size, spec.size, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(one).view(1, -1, 1, 1) for one in (spec.mean, spec.std))
    with torch.no_grad():
        return torch.equal(outside.teacher.build()(images).logits, model.eval()((images - mean) / std))
