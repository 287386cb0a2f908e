"""What a teacher says of images that somebody learns from."""

import torch
from torch import Tensor

from fusion.compute import Compute
from fusion.networks import Classifier, Prediction


@torch.no_grad()
def label(teacher: Classifier, images: Tensor, compute: Compute) -> Prediction:
    """The frozen teacher's logits [batch, classes] and last map for images [batch, channels, size, size].

    Both are float32 with one memory layout, so that they are the same bits whoever computed them.
    """
    with compute.autocast(images.device):
        prediction = teacher(images)
    return Prediction(*(one.float().clone(memory_format=torch.contiguous_format) for one in prediction))
