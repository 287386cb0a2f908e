import dataclasses

import pytest
import torch
import torchvision

from fusion.batchnorm import bn_layers
from fusion.generator import DfqGenerator, GeneratorSettings
from fusion.networks import NETWORKS, Classifier, ImageSpec, build_classifier, build_network, frozen
from tests.tiny import SPEC


def spec(size: int, channels: int = 3, classes: int = 10) -> ImageSpec:
    return ImageSpec(
        size=size,
        channels=channels,
        classes=tuple(map(str, range(classes))),
        mean=(0.5,) * channels,
        std=(0.2,) * channels,
    )


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 1), (32, 3)])
def test_every_network_takes_every_small_image(name: str, size: int, channels: int) -> None:
    classifier = build_classifier(name, spec(size, channels)).eval()
    logits, features = classifier(torch.rand(2, channels, size, size))
    assert logits.shape == (2, 10)
    assert features.shape[1] == classifier.network.feature_channels
    torch.testing.assert_close(classifier.network.classify(features), logits)


def test_resnets_with_the_imagenet_stem_are_torchvisions() -> None:
    ours = build_network("resnet18", spec(224, classes=1000)).eval()
    theirs = torchvision.models.resnet18().eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(1, 3, 224, 224)
    torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("resnet18", 11_173_962), ("resnet20", 272_474), ("wrn-16-2", 691_674), ("wrn-40-2", 2_243_546)],
)
def test_the_cifar_networks_have_their_known_sizes(name: str, parameters: int) -> None:
    # ResNet-20 has 269,722 parameters with option A; the two projections of option B add 2,752.
    assert sum(parameter.numel() for parameter in build_network(name, spec(32)).parameters()) == parameters


def test_the_networks_without_batch_norm_have_none() -> None:
    without = {name for name in NETWORKS if not bn_layers(build_network(name, spec(32)))}
    assert without == {"vgg11", "alexnet", "alexnet-half"}


def test_a_classifier_normalises_for_itself_and_keeps_it_out_of_its_weights() -> None:
    images = torch.rand(2, 1, 8, 8)
    plain = build_network("resnet8", SPEC).eval()
    classifier = Classifier(plain, SPEC.mean, SPEC.std)
    torch.testing.assert_close(classifier(images).logits, plain((images - 0.3) / 0.4))
    assert set(classifier.state_dict()) == {f"network.{name}" for name in plain.state_dict()}


def test_a_frozen_classifier_gives_gradients_to_its_input_only() -> None:
    classifier = frozen(build_classifier("resnet8", SPEC))
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    images = torch.rand(4, 1, 8, 8, requires_grad=True)
    classifier(images).logits.sum().backward()
    assert images.grad is not None
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


@pytest.mark.parametrize("size", [8, 15, 16, 28, 32, 64, 96, 224])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_generator_makes_square_images_of_any_size(size: int, channels: int) -> None:
    generator = DfqGenerator(GeneratorSettings(latent_dim=6, width=16), spec(size, channels))
    assert generator(torch.randn(3, 6)).shape == (3, channels, size, size)
    assert len(generator.convolutions) >= 3


def test_the_generator_has_the_dfq_layout_at_32_pixels() -> None:
    from fusion.evaluation import forward_flops

    generator = DfqGenerator(GeneratorSettings(), spec(32))
    assert generator.start == (512, 4, 4)
    assert [convolution.out_channels for convolution in generator.convolutions] == [256, 128, 64]
    assert abs(forward_flops(generator, (1, 512)) / 2 / 232e6 - 1) < 0.01  # the known 232 MMAC


def test_the_last_batch_norm_gives_each_channel_the_teachers_mean_and_deviation() -> None:
    wanted = dataclasses.replace(spec(16), mean=(0.1, 0.5, 0.7), std=(0.1, 0.2, 0.3))
    images = DfqGenerator(GeneratorSettings(latent_dim=6, width=16), wanted)(torch.randn(64, 6))
    torch.testing.assert_close(images.mean(dim=(0, 2, 3)), torch.tensor(wanted.mean), atol=1e-4, rtol=0)
    torch.testing.assert_close(images.std(dim=(0, 2, 3)), torch.tensor(wanted.std), atol=2e-3, rtol=0)


def test_the_sigmoid_output_stays_in_the_common_space() -> None:
    images = DfqGenerator(GeneratorSettings(latent_dim=6, width=16, output="sigmoid"), spec(16))(
        50 * torch.randn(8, 6)
    )
    assert 0 <= float(images.detach().min()) < float(images.detach().max()) <= 1


def test_an_unknown_network_is_named_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"unknown network .resnet19.*resnet18"):
        build_network("resnet19", SPEC)
