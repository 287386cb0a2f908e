"""Other ways to compute the same: how far their results may lie from the float32 reference."""

import shutil

import pytest
import torch

from fusion.assembly import build_party, build_student
from fusion.compute import Compute
from tests.tiny import CPU, settings, teacher

TOLERANCE = {"channels_last": 1e-4, "bfloat16": 0.05, "compiled": 1e-3}
"""Of a loss term after a few updates, relative to its size: rounding in float32, eight bits of mantissa."""


def losses(compute: Compute) -> dict[str, float]:
    """Terms of a warm-up step, an iteration of a party and updates of a student that see the same images."""
    chosen = settings(compute=compute)
    party = build_party(0, 1, teacher(0), chosen, CPU)
    student = build_student([teacher(0)], chosen, CPU)
    party.warm_up_step(0)
    party.step(0)
    stream = torch.Generator().manual_seed(0)
    student.begin_iteration(0)
    for _ in range(2):
        student.update(torch.rand(12, 1, 8, 8, generator=stream))
    return party.meter.take() | student.meter.take()


@pytest.mark.parametrize(
    ("way", "compute"),
    [
        ("channels_last", Compute()),
        ("bfloat16", Compute(precision="bfloat16")),
        pytest.param(
            "compiled",
            Compute(compile=True),
            marks=[
                pytest.mark.slow,
                pytest.mark.filterwarnings("ignore"),  # What the compiler looks at warns.
                pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
            ],
        ),
    ],
)
def test_other_ways_agree_with_the_reference(way: str, compute: Compute) -> None:
    reference, found = losses(Compute(memory_format="contiguous")), losses(compute)
    assert reference.keys() == found.keys()
    for name, value in reference.items():
        assert found[name] == pytest.approx(value, rel=TOLERANCE[way], abs=TOLERANCE[way]), name


def test_weights_images_and_statistics_stay_float32() -> None:
    compute = Compute(precision="bfloat16")
    party = build_party(0, 1, teacher(0), settings(compute=compute), CPU)
    assert party.step(0).dtype == torch.float32
    said = party.label(torch.rand(4, 1, 8, 8))
    assert (said.logits.dtype, said.features.dtype) == (torch.float32, torch.float32)
    assert {one.dtype for one in party.assistant.parameters()} == {torch.float32}
    # It is used at all: the logits are not those of float32.
    exact = build_party(0, 1, teacher(0), settings(), CPU).label(torch.rand(4, 1, 8, 8))
    assert not torch.equal(said.logits, exact.logits)
