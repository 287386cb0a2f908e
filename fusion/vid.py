"""Variational information distillation of the last convolutional map (Ahn et al., CVPR 2019)."""

import math

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
        height, width = teacher_features.shape[2:]
        if learner_features.shape[2:] != (height, width):
            learner_features = F.adaptive_avg_pool2d(learner_features, (height, width))
        variance = F.softplus(self.raw_variance) + MINIMUM_VARIANCE
        return gaussian_nll(self.regressor(learner_features), teacher_features, variance)
