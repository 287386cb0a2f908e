"""The VID losses of many teachers at once."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fusion.assembly import build_student
from fusion.compute import Compute
from fusion.labelling import label
from fusion.methods import Dfmf
from fusion.vid import Vid, vid_losses
from tests.tiny import CPU, settings, teacher

STREAM = torch.Generator().manual_seed(0)


def test_many_teachers_have_the_vid_losses_and_gradients_that_each_has_alone() -> None:
    shapes = [(5, 4), (3, 2), (5, 4), (5, 2), (3, 2)]  # Two pairs alike, in channels and in size.
    vids = [Vid(3, channels) for channels, _ in shapes]
    for index, vid in enumerate(vids):
        nn.init.constant_(vid.raw_variance, 0.5 * index)
    maps = [torch.randn(2, channels, size, size, generator=STREAM) for channels, size in shapes]
    mine = torch.randn(2, 3, 4, 4, generator=STREAM)

    def found(values: list[torch.Tensor]) -> list[torch.Tensor]:
        together = sum((1 + index) * value for index, value in enumerate(values))
        parameters = [parameter for vid in vids for parameter in vid.parameters()]
        return [*values, *torch.autograd.grad(together, parameters)]

    alone = found([vid(mine, map_) for vid, map_ in zip(vids, maps, strict=True)])
    torch.testing.assert_close(found(vid_losses(vids, mine, maps)), alone)
    assert len({round(value.item(), 4) for value in alone[: len(vids)]}) == len(vids)


class Convolutions(TorchDispatchMode):
    """Counts those forward."""

    count = 0

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += call is torch.ops.aten.convolution.default
        return call(*args, **(kwargs or {}))


@pytest.mark.parametrize(("networks", "more"), [(["resnet8-w8"] * 6, 1), (["resnet8-w8", "resnet8"] * 3, 2)])
def test_a_students_step_has_one_convolution_for_all_teachers_of_like_maps(
    networks: list[str], more: int
) -> None:
    teachers = [teacher(index, network) for index, network in enumerate(networks)]

    def convolutions(beta: float) -> int:
        student = build_student(teachers, settings(method=Dfmf(beta=beta)), CPU)
        images = torch.rand(12, 1, 8, 8, generator=STREAM)
        said = {index: label(one, images, Compute()) for index, one in enumerate(student.teachers)}
        student.begin_iteration(0)
        with Convolutions() as seen:
            student.learn(images, said)
        return seen.count

    assert convolutions(1.0) == convolutions(0.0) + more
