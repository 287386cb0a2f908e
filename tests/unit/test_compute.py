"""Other ways to compute the same: how far their results may lie from the float32 reference."""

import contextlib
import shutil
from collections.abc import Iterator
from unittest.mock import MagicMock, Mock

import pytest
import torch
from torch import nn

from fusion.assembly import build_party, build_student
from fusion.compute import Compute, own_rounding
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


CUDA = torch.device("cuda")


def rounding() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture
def _as_it_was() -> Iterator[None]:
    with own_rounding(CUDA):
        yield


@pytest.mark.usefixtures("_as_it_was")
def test_float32_is_rounded_to_tf32_as_asked_for_and_else_as_pytorch_has_it() -> None:
    before = rounding()
    Compute(tf32=True).place(Mock(), CPU)
    assert rounding() == before
    for tf32, both in ((True, (True, True)), (False, (False, False)), (None, (False, True))):
        Compute(tf32=tf32).place(Mock(), CUDA)
        assert rounding() == both


@pytest.mark.usefixtures("_as_it_was")
def test_the_rounding_of_one_run_is_not_that_of_the_next() -> None:
    before = rounding()
    with own_rounding(CUDA):
        Compute(tf32=True).place(Mock(), CUDA)
        assert rounding() == (True, True)
    assert rounding() == before
    interrupted = Mock(to=Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt), own_rounding(CUDA):
        Compute(tf32=True).place(interrupted, CUDA)
    assert rounding() == before


def test_the_local_engine_gives_back_how_this_process_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator import local

    rounded: list[torch.device] = []

    @contextlib.contextmanager
    def note(device: torch.device) -> Iterator[None]:
        rounded.append(device)
        yield
        rounded.append(device)

    class Run:
        def __init__(self, *_: object) -> None:
            assert len(rounded) == 1

        def warm_up(self) -> None:
            assert len(rounded) == 1

        main_phase = warm_up
        fused = Mock()

    monkeypatch.setattr(local, "own_rounding", note)
    monkeypatch.setattr(local, "_Run", Run)
    local.LocalEngine(1).fuse(MagicMock(), Mock())
    assert len(rounded) == 2
