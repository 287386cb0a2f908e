"""NAYER's generator, held against its supplement's Tables 1 and 2, what it refuses, and that DFQ's is as it
was."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fusion.evaluation import forward_flops
from fusion.generator import GeneratorSettings, NayerGenerator, build_generator
from fusion.label_spaces import label_space
from fusion.networks import ImageSpec
from fusion.seeding import seeded_initialisation
from orchestrator.errors import UserError
from orchestrator.identity import run_identity
from orchestrator.loading import parse_config
from orchestrator.method_check import check_method
from tests.tiny import SPEC, teacher, tiny_run

FIRST, CONVOLUTION = "Linear, BatchNorm1D, Reshape", "SpectralNorm (Conv (3x3)), BatchNorm2D, LeakyReLU"
UPSAMPLE, LAST = "UpSample (2x)", "SpectralNorm (Conv (3x3)), Sigmoid, BatchNorm2D"
Row = tuple[int, int, str]
TABLE_1: list[Row] = [
    (128, 4, FIRST),
    (128, 4, CONVOLUTION),
    (128, 2, UPSAMPLE),
    (64, 2, CONVOLUTION),
    (64, 1, UPSAMPLE),
    (3, 1, LAST),
]
TABLE_2: list[Row] = [
    (128, 16, FIRST),
    (128, 16, CONVOLUTION),
    (128, 8, UPSAMPLE),
    (128, 8, CONVOLUTION),
    (128, 4, UPSAMPLE),
    (64, 4, CONVOLUTION),
    (64, 2, UPSAMPLE),
    (64, 2, CONVOLUTION),
    (64, 1, UPSAMPLE),
    (3, 1, LAST),
]
"""The supplement's, row by row: channels, what the image's height is divided by, and layers."""


def spec(size: int) -> ImageSpec:
    return ImageSpec(size=size, channels=3, classes=("a", "b"), mean=(0.1, 0.5, 0.7), std=(0.1, 0.2, 0.3))


def generator_of(size: int, output: str = "batchnorm", latent_dim: int = 6) -> NayerGenerator:
    with seeded_initialisation(0):
        made = build_generator(
            GeneratorSettings(layout="nayer", latent_dim=latent_dim, output=output),  # type: ignore[arg-type]
            spec(size),
        )
    assert isinstance(made, NayerGenerator)
    return made


def spectral_of(ours: nn.Module) -> nn.Module:
    """Of the older of PyTorch's two implementations, with weights and singular vectors of the newer."""
    state = ours.state_dict()
    bias = state.get("bias")
    weight = state["parametrizations.weight.original"]
    theirs = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, bias=bias is not None)
    theirs.weight.data = weight.clone()
    if theirs.bias is not None:
        assert bias is not None
        theirs.bias.data = bias.clone()
    nn.utils.spectral_norm(theirs)
    theirs.weight_u.copy_(state["parametrizations.weight.0._u"])
    theirs.weight_v.copy_(state["parametrizations.weight.0._v"])
    return theirs


def as_printed(table: list[Row], ours: NayerGenerator, size: int) -> list[nn.Module]:
    """The rows of a table, one after the other, with the weights of `ours`."""
    twin = copy.deepcopy(ours)
    pairs = zip(twin.convolutions, twin.norms, strict=True)
    rows: list[nn.Module] = []
    for channels, divisor, layers in table:
        if layers == FIRST:
            shape = (channels, size // divisor, size // divisor)
            rows.append(nn.Sequential(twin.linear, twin.first_norm, nn.Unflatten(1, shape)))
        elif layers == CONVOLUTION:
            convolution, norm = next(pairs)
            rows.append(nn.Sequential(spectral_of(convolution), norm, nn.LeakyReLU(0.2)))
        elif layers == UPSAMPLE:
            rows.append(nn.Upsample(scale_factor=2))
        else:
            assert twin.last_norm is not None
            rows.append(nn.Sequential(spectral_of(twin.to_pixels), nn.Sigmoid(), twin.last_norm))
    assert next(pairs, None) is None
    return rows


@pytest.mark.parametrize(
    ("size", "table"), [(4, TABLE_1), (32, TABLE_1), (64, TABLE_1), (80, TABLE_2), (96, TABLE_2)]
)
@pytest.mark.parametrize("training", [True, False])
def test_images_are_those_of_the_supplements_rows_one_after_the_other(
    size: int, table: list[Row], training: bool
) -> None:
    ours = generator_of(size)
    ours(torch.randn(8, 6, generator=torch.Generator().manual_seed(2)))  # Running statistics to tell apart.
    rows = as_printed(table, ours, size)
    for module in (ours, *rows):
        module.train(training)
    # With singular vectors that move: PyTorch's implementations move one and the other in another order.
    close = 5e-3 if training else 1e-4
    for seed in range(2):
        x = noise = torch.randn(5, 6, generator=torch.Generator().manual_seed(seed))
        for row, (channels, divisor, layers) in zip(rows, table, strict=True):
            x = row(x)
            assert x.shape == (5, channels, size // divisor, size // divisor), layers
        torch.testing.assert_close(ours(noise), x * ours.std + ours.mean, atol=close, rtol=close)


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (
            32,
            [1000 * 8192 + 8192, 2 * 8192, 147_456 + 256, 73_728 + 128, 1728 + 3 + 6],
        ),  # 8192 is 128 x 8 x 8.
        (
            224,  # 25088 is 128 x 14 x 14.
            [1000 * 25088 + 25088, 2 * 25088, *2 * [147_456 + 256], 73_728 + 128, 36_864 + 128, 1728 + 3 + 6],
        ),
    ],
)
def test_the_supplements_generators_have_so_many_weights(size: int, parts: list[int]) -> None:
    """By row: the linear layer, its BatchNorm, each convolution without biases and its BatchNorm, at last one
    with biases."""
    made = generator_of(size, latent_dim=1000)
    assert sum(one.numel() for one in made.parameters()) == sum(parts)


def test_all_convolutions_have_the_spectral_norm_1_and_the_linear_layer_has_not() -> None:
    made = generator_of(80)
    for one in made.convolutions:
        one.parametrizations.weight.original.data *= 7
    for _ in range(40):  # Passes, in which the estimates come close.
        made(torch.randn(4, 6))
    assert len(made.convolutions) == 4
    for one in (*made.convolutions, made.to_pixels):
        weight = one.weight
        assert isinstance(weight, Tensor)
        assert float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2)) == pytest.approx(1, rel=2e-2)
    assert set(dict(made.linear.named_parameters())) == {"weight", "bias"}


def test_its_last_batch_norm_begins_at_the_teachers_mean_and_deviation_and_learns() -> None:
    images = generator_of(16)(torch.randn(64, 6))
    torch.testing.assert_close(images.mean(dim=(0, 2, 3)), torch.tensor(spec(16).mean), atol=1e-3, rtol=0)
    torch.testing.assert_close(images.std(dim=(0, 2, 3)), torch.tensor(spec(16).std), atol=1e-2, rtol=0)
    last = generator_of(16).last_norm
    assert last is not None
    assert last.affine


def test_with_the_sigmoid_output_it_ends_with_the_sigmoid() -> None:
    made = generator_of(16, output="sigmoid")
    images = made(50 * torch.randn(8, 6)).detach()
    assert 0 <= float(images.min()) < float(images.max()) <= 1
    assert made.last_norm is None


def test_by_default_the_generator_is_dfqs_with_the_weights_and_names_that_it_always_had() -> None:
    with seeded_initialisation(0):
        ours = build_generator(GeneratorSettings(latent_dim=6, width=16), SPEC)
    with seeded_initialisation(0):  # In the order of their first draws.
        linear = nn.Linear(6, 16)
        convolutions = [nn.Conv2d(*widths, 3, bias=False) for widths in ((16, 8), (8, 4), (4, 2))]
        to_pixels = nn.Conv2d(2, 1, 3)
    expected = {f"linear.{name}": one for name, one in linear.state_dict().items()}
    expected |= {f"convolutions.{index}.weight": one.weight for index, one in enumerate(convolutions)}
    expected |= {f"to_pixels.{name}": one for name, one in to_pixels.state_dict().items()}
    found = ours.state_dict()
    assert all(torch.equal(found.pop(name), one) for name, one in expected.items())
    running = {"running_mean", "running_var", "num_batches_tracked"}
    norms = {f"norms.{index}.{name}" for index in range(3) for name in running | {"weight", "bias"}}
    assert set(found) == norms | {f"last_norm.{name}" for name in running}


@pytest.mark.parametrize(("size", "factor"), [(30, 4), (2, 4), (66, 16), (100, 16)])
def test_a_size_that_the_tables_are_not_for_is_refused_in_one_line(size: int, factor: int) -> None:
    says = f"'nayer' makes no images {size} pixels wide, which is no multiple of {factor}"
    with pytest.raises(ValueError, match=f"^{says}$"):
        generator_of(size)
    cards = [teacher(0), teacher(1, spec=spec(size))]
    config = parse_config(tiny_run(generator={"layout": "nayer"}), "run")
    with pytest.raises(UserError, match=rf"^generator\.layout: {says} \(those of party-1\)$"):
        check_method(config, cards, label_space([one.spec.classes for one in cards]))


def test_the_operations_of_a_pass_are_those_of_linear_layer_and_convolutions() -> None:
    pixels = [(128, 128, 8), (128, 64, 16), (64, 3, 32)]
    macs = 6 * 8192 + sum(9 * inputs * outputs * size**2 for inputs, outputs, size in pixels)
    assert forward_flops(generator_of(32), (1, 6)) == 2 * macs


def test_a_checkpoint_that_names_no_layout_is_of_dfqs() -> None:
    def identity(**changes: object) -> dict[str, object]:
        return run_identity(parse_config(tiny_run(generator=changes), "run"), [])

    assert "generator.layout" not in identity()
    assert identity(layout="nayer")["generator.layout"] == "nayer"
