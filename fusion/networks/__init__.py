"""Classifiers by name: `build_classifier` makes one from its specification."""

import dataclasses
from collections.abc import Callable

import torch

from fusion.networks.cifar_resnet import CifarResNet
from fusion.networks.classifier import Classifier, Network, Prediction, frozen
from fusion.networks.features import NetworkError, as_network
from fusion.networks.foreign import build_foreign, build_unfilled, feature_place, is_foreign
from fusion.networks.plain import alexnet, vgg11
from fusion.networks.wide_resnet import WideResNet

__all__ = [
    "NETWORKS",
    "Classifier",
    "ImageSpec",
    "Network",
    "NetworkError",
    "Prediction",
    "build_classifier",
    "build_network",
    "build_without_weights",
    "frozen",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What a classifier takes and gives: square images, their normalisation, and its classes in order."""

    size: int
    channels: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def _large(name: str) -> Callable[[ImageSpec], Network]:
    def build(spec: ImageSpec) -> Network:
        from fusion.networks.resnet import resnet

        return resnet(name, channels=spec.channels, classes=len(spec.classes), image_size=spec.size)

    return build


def _cifar(blocks: int, width: int = 16) -> Callable[[ImageSpec], Network]:
    return lambda spec: CifarResNet(
        blocks=blocks, width=width, channels=spec.channels, classes=len(spec.classes)
    )


def _wide(depth: int) -> Callable[[ImageSpec], Network]:
    return lambda spec: WideResNet(depth=depth, widen=2, channels=spec.channels, classes=len(spec.classes))


def _vgg11(batch_norm: bool) -> Callable[[ImageSpec], Network]:
    return lambda spec: vgg11(
        channels=spec.channels, classes=len(spec.classes), image_size=spec.size, batch_norm=batch_norm
    )


NETWORKS: dict[str, Callable[[ImageSpec], Network]] = {
    "resnet18": _large("resnet18"),
    "resnet34": _large("resnet34"),
    "resnet50": _large("resnet50"),
    "resnet8": _cifar(1),
    "resnet8-w8": _cifar(1, width=8),
    "resnet8-w32": _cifar(1, width=32),
    "resnet14": _cifar(2),
    "resnet20": _cifar(3),
    "resnet32": _cifar(5),
    "resnet56": _cifar(9),
    "vgg11": _vgg11(batch_norm=False),
    "vgg11-bn": _vgg11(batch_norm=True),
    "alexnet": lambda spec: alexnet(channels=spec.channels, classes=len(spec.classes)),
    "alexnet-half": lambda spec: alexnet(channels=spec.channels, classes=len(spec.classes), width=32),
    "wrn-16-2": _wide(16),
    "wrn-40-2": _wide(40),
}


def build_network(name: str, spec: ImageSpec) -> Network:
    """A freshly initialised network, drawing from PyTorch's global stream (see `fusion.seeding`).

    Raises:
        ValueError: there is no network of that name, or a foreign one is not for `spec` (`NetworkError`).
    """
    if is_foreign(name):
        return build_foreign(name, spec)
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r} (known: {', '.join(NETWORKS)})")
    return NETWORKS[name](spec)


def build_without_weights(name: str, spec: ImageSpec) -> Network:
    """The network with its parameters on the meta device, for weights that are assigned; draws nothing.

    Raises:
        ValueError: as `build_network`.
    """
    if is_foreign(name):
        return as_network(build_unfilled(name, spec), feature_place(name, spec))
    with torch.device("meta"):
        return build_network(name, spec)


def build_classifier(name: str, spec: ImageSpec) -> Classifier:
    """`build_network` with the specification's normalisation in front."""
    return Classifier(build_network(name, spec), spec.mean, spec.std)
