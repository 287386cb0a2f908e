"""Other ways to compute the same: how far their results may lie from the float32 reference."""

import shutil

import pytest
import torch
from torch import nn

from fusion.assembly import build_party, build_student
from fusion.compute import Compute
from fusion.networks import Classifier, build_network
from tests.tiny import CPU, SPEC, settings, teacher

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


@pytest.mark.filterwarnings("ignore")  # What the compiler looks at warns.
def test_every_architecture_of_a_process_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[object] = []

    def uncompiled(graph: torch.fx.GraphModule, _: object) -> object:
        graphs.append(graph)
        return graph.forward

    by_default = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: by_default(module, backend=uncompiled))
    torch.compiler.reset()
    images = torch.rand(2, 1, 8, 8)
    networks = ("resnet8-w8", "resnet8", "resnet8-w32")
    for number, name in enumerate(networks, start=1):
        classifier = Classifier(build_network(name, SPEC), SPEC.mean, SPEC.std)
        Compute(compile=True).place(classifier, CPU)
        with torch.no_grad():
            classifier(images)
        classifier(images)
        classifier(images.clone().requires_grad_())
        assert len(graphs) == 3 * number, name
    torch.compiler.reset()
