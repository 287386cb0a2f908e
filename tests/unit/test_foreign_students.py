"""Students, and teachers that are trained here, of other libraries' networks."""

from pathlib import Path

import pytest
import torch

from fusion.teachers import load_teacher
from orchestrator.errors import UserError
from orchestrator.loading import parse_config
from tests.instant import instantly, small_run

TINY = "timm:test_efficientnet"


def test_a_student_of_timm_is_fused_written_and_read_again(tmp_path: Path) -> None:
    result = instantly(small_run(tmp_path, student=TINY))
    assert result.summary["student"]["network"] == TINY
    student = load_teacher(result.folder / "student.safetensors")
    assert student.network == TINY
    with torch.no_grad():
        assert student.build().eval()(torch.rand(2, 1, 8, 8)).logits.shape == (2, 10)
    assert TINY in (result.folder / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"student": "torchvision:vit_b_16"},
            r"^student: torchvision:vit_b_16 does not take 1x8x8 images: ",
        ),
        (
            {"pretrain": {"networks": ["resnet8", "torchvision:alexnet"]}},
            r"^pretrain.networks: torchvision:alexnet does not take 1x8x8 images: ",
        ),
    ],
)
def test_a_network_that_does_not_take_such_images_is_one_line_before_anything_is_written(
    changes: dict[str, object], line: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=line) as error:
        instantly(small_run(tmp_path, **changes))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("timm:nothing", "timm has no such classifier"),
        ("torchvision:fcn_resnet50", "torchvision has no such classifier"),
        ("os:system", "unknown network"),
        ('timm:test_efficientnet {"drop_rate": 0.5}', "unknown network"),
    ],
)
def test_what_is_no_network_is_refused_as_such(name: str, why: str) -> None:
    with pytest.raises(UserError, match=rf"student: {why}"):
        parse_config({"student": name}, "run")
