import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from fusion.batchnorm import BnWatch, bn_layers
from fusion.networks import (
    Classifier,
    ImageSpec,
    NetworkError,
    build_classifier,
    build_network,
    build_without_weights,
    frozen,
)
from fusion.networks.foreign import exists, feature_place
from fusion.networks.names import is_plain_foreign, parse_name
from fusion.seeding import seeded_initialisation
from fusion.untrusted import Refused

HOME_MADE = 'tests.outside:home_made {"classes": 5, "width": 3}'


def spec(size: int = 32, channels: int = 3, classes: int = 5) -> ImageSpec:
    return ImageSpec(
        size=size,
        channels=channels,
        classes=tuple(map(str, range(classes))),
        mean=(0.5,) * channels,
        std=(0.2,) * channels,
    )


def built(name: str, of: ImageSpec) -> Classifier:
    with seeded_initialisation(0, name):
        return build_classifier(name, of).eval()


@pytest.mark.parametrize(
    ("name", "of", "module", "channels"),
    [
        ("torchvision:resnet18", spec(), "layer4", 512),
        ("torchvision:resnet18", spec(28, channels=1), "layer4", 512),
        ("torchvision:shufflenet_v2_x0_5", spec(), "conv5", 1024),
        ("torchvision:mobilenet_v3_small", spec(), "features", 576),
        ("torchvision:regnet_y_400mf", spec(), "trunk_output", 440),
        ("torchvision:googlenet", spec(64), "inception5b", 1024),
        ("timm:test_resnet.r160_in1k", spec(channels=1), "layer4", 96),
        ("timm:mobilenetv3_small_050", spec(), "blocks", 288),
        ("timm:test_efficientnet", spec(), "bn2", 256),
        (HOME_MADE, spec(12, channels=1), "relu", 6),
    ],
)
def test_a_foreign_network_is_one_of_ours(name: str, of: ImageSpec, module: str, channels: int) -> None:
    place = feature_place(name, of)
    assert (place.module, place.channels) == (module, channels)
    classifier = built(name, of)
    images = torch.rand(2, of.channels, of.size, of.size)
    logits, features = classifier(images)
    assert logits.shape == (2, 5)
    assert list(features.shape) == [2, classifier.network.feature_channels, place.height, place.width]
    # As the library's own forward pass; in a copy; watched; and with weights that come later.
    torch.testing.assert_close(classifier.network((images - 0.5) / 0.2), logits, rtol=0, atol=0)
    assert torch.equal(copy.deepcopy(classifier)(images).features, features)
    watched, divergences = BnWatch(frozen(copy.deepcopy(classifier)))(images)
    assert torch.equal(watched.logits, logits)
    assert len(divergences) == len(bn_layers(classifier)) > 0
    empty = build_without_weights(name, of)
    empty.load_state_dict(classifier.network.state_dict(), assign=True)
    assert torch.equal(Classifier(empty, of.mean, of.std).eval()(images).features, features)
    with torch.device("meta"):
        shapes = build_network(name, of).eval().predict(torch.empty(2, of.channels, of.size, of.size))
    assert (shapes.logits.shape, shapes.features.shape) == (logits.shape, features.shape)


def test_the_map_of_a_network_of_timm_is_what_timm_calls_its_features() -> None:
    for name in ("test_resnet", "test_efficientnet", "test_byobnet", "densenet121"):
        classifier = built(f"timm:{name}", spec(64))
        images = torch.rand(2, 3, 64, 64)
        expected = classifier.network.forward_features((images - 0.5) / 0.2)  # type: ignore[operator]
        assert torch.equal(classifier(images).features, expected), name


def test_names_and_parameters_are_the_librarys() -> None:
    theirs = get_model("resnet18", num_classes=5)
    ours = build_network("torchvision:resnet18", spec())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(ours.eval()(images), theirs.eval()(images))


def test_gradients_reach_the_image_and_the_map_is_part_of_the_graph() -> None:
    classifier = frozen(built(HOME_MADE, spec(12, channels=1)))
    images = torch.rand(2, 1, 12, 12, requires_grad=True)
    classifier(images).features.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_looking_at_a_network_draws_nothing() -> None:
    """Or its initial weights would depend on who has looked before."""
    of, state = spec(16, channels=1), torch.get_rng_state()
    feature_place(HOME_MADE, of)
    build_without_weights(HOME_MADE, of)
    assert torch.equal(state, torch.get_rng_state())


def test_an_assistant_of_that_architecture_learns_without_random_numbers_of_its_own() -> None:
    """Dropout is off, and auxiliary heads, which GoogLeNet has in training mode, are left aside."""
    for name, of in ((HOME_MADE, spec(12, channels=1)), ("torchvision:googlenet", spec(64))):
        classifier = built(name, of).train()
        images = torch.rand(2, of.channels, of.size, of.size)
        state = torch.get_rng_state()
        first, second = (copy.deepcopy(classifier)(images).logits for _ in range(2))
        assert torch.equal(first, second)
        assert torch.equal(state, torch.get_rng_state())


def test_the_name_alone_is_enough_in_another_process() -> None:
    of = spec(12, channels=1)
    code = f"""
import torch
from fusion.networks import ImageSpec, build_classifier
from fusion.seeding import seeded_initialisation
torch.set_num_threads(1)
with seeded_initialisation(0, {HOME_MADE!r}):
    classifier = build_classifier({HOME_MADE!r}, {of!r}).eval()
print(classifier(torch.ones(1, 1, 12, 12)).logits.tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = built(HOME_MADE, of)(torch.ones(1, 1, 12, 12)).logits.tolist()
    assert done.stdout.strip() == str(expected)


@pytest.mark.parametrize(
    ("name", "of", "words"),
    [
        ("torchvision:resnet19", spec(), "torchvision has no classifier 'resnet19'"),
        ("torchvision:fasterrcnn_resnet50_fpn", spec(), "has no classifier"),
        ("timm:no_such_network", spec(), "timm has no classifier 'no_such_network'"),
        ("torchvision:vit_b_16", spec(32), "does not take 3x32x32 images: Wrong image height"),
        ('torchvision:resnet18 {"colour": 1}', spec(), "cannot be built: TypeError: .*'colour'"),
        ("tests.outside:nothing", spec(), "tests.outside:nothing: module .* has no attribute"),
        ("no.such.package:network", spec(), "No module named"),
        ("tests.outside:home_made", spec(12, channels=1), "gives 4 logits, not 5"),
        ("torch.nn:Flatten", spec(8), r"has no convolutional map"),
        ("torch.nn:Identity", spec(8), r"gives no logits \[batch, classes\]"),
        ("builtins:dict", spec(8), "gives no torch.nn.Module"),
    ],
)
def test_what_is_no_such_network_is_said_in_a_line(name: str, of: ImageSpec, words: str) -> None:
    with pytest.raises(NetworkError, match=words) as error:
        build_network(name, of)
    assert "\n" not in str(error.value)


def test_without_timm_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NetworkError, match=r"pip install 'dfmf\[timm\]'"):
        build_network("timm:resnet18", spec())


def test_nothing_that_downloads_or_unpickles_may_be_asked_for() -> None:
    for name in (
        'torchvision:resnet18 {"weights": "DEFAULT"}',
        'timm:resnet18 {"pretrained": true}',
        'timm:resnet18 {"checkpoint_path": "x.bin"}',
        'timm:resnet18 {"pretrained_cfg": {}}',
    ):
        with pytest.raises(Refused, match="takes no argument"):
            parse_name(name)
    for name in (
        "timm:hf_hub:a/b",
        "timm:hf-hub:a/b",
        "timm:local-dir:/x",
        "timm:../x",
        "torchvision:",
        "a b:c",
    ):
        assert parse_name(name) is None


def test_a_card_of_a_stranger_names_architectures_only() -> None:
    assert is_plain_foreign("torchvision:resnet18")
    assert is_plain_foreign("timm:resnet18.a1_in1k")
    assert not is_plain_foreign('torchvision:resnet18 {"groups": 1}')
    assert not is_plain_foreign("os:system")
    assert exists("timm:resnet18.a1_in1k")


def test_idle_heads_have_no_part_in_the_bn_loss() -> None:
    classifier = built("torchvision:googlenet", spec(64))
    every = [module for module in classifier.modules() if isinstance(module, nn.BatchNorm2d)]
    assert (len(every), len(bn_layers(classifier))) == (59, 57)
