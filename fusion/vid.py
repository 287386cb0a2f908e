"""Variational information distillation of the last convolutional map (Ahn et al., CVPR 2019)."""

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion.losses import gaussian_nll

INITIAL_VARIANCE = 5.0
MINIMUM_VARIANCE = 1e-5


class Vid(nn.Module):
    """Predicts a teacher's feature map from a learner's: a 1x1 convolution and one learned variance a
    channel.

    Its parameters belong to the learner (the student or an assistant) and are trained with it.
    """

    def __init__(self, learner_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.regressor = nn.Conv2d(learner_channels, teacher_channels, kernel_size=1, bias=False)
        inverse_softplus = math.log(math.expm1(INITIAL_VARIANCE - MINIMUM_VARIANCE))
        self.raw_variance = nn.Parameter(torch.full((teacher_channels,), inverse_softplus))

    def forward(self, learner_features: Tensor, teacher_features: Tensor) -> Tensor:
        """The VID loss, a scalar. The maps are [batch, channels, height, width] with any channels and sizes.

        Where the sizes differ, the learner's map is averaged, or repeated, to the teacher's.
        """
        (value,) = vid_losses([self], learner_features, [teacher_features])
        return value


def vid_losses(
    vids: Sequence[Vid], learner_features: Tensor, teacher_features: Sequence[Tensor]
) -> list[Tensor]:
    """The VID loss of each teacher: what each `Vid` would say, up to rounding.

    Teachers whose maps have one shape share a convolution, so that many cost little more than one.
    """
    alike: dict[torch.Size, list[int]] = {}
    for index, one in enumerate(teacher_features):
        alike.setdefault(one.shape[1:], []).append(index)
    values: dict[int, Tensor] = {}
    for members in alike.values():
        targets = torch.cat([teacher_features[index] for index in members], dim=1)
        losses = _of_one_shape([vids[index] for index in members], learner_features, targets)
        values.update(zip(members, losses, strict=True))
    return [values[index] for index in range(len(vids))]


def _of_one_shape(vids: Sequence[Vid], learner_features: Tensor, targets: Tensor) -> Iterable[Tensor]:
    """`targets` are the teachers' maps, one after the other in the channels."""
    height, width = targets.shape[2:]
    if learner_features.shape[2:] != (height, width):
        learner_features = F.adaptive_avg_pool2d(learner_features, (height, width))
    weight = torch.cat([one.regressor.weight for one in vids])
    variance = F.softplus(torch.cat([one.raw_variance for one in vids])) + MINIMUM_VARIANCE
    each = gaussian_nll(F.conv2d(learner_features, weight), targets, variance)
    return each.view(len(vids), -1).mean(dim=1).unbind()
