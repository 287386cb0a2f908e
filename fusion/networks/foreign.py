"""Networks of other people: torchvision's, timm's, or a function that a person named on purpose.

Nothing is ever downloaded, and a network's state dict has the names that its own library gives it.
"""

import importlib
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from fusion.networks.classifier import Network
from fusion.networks.features import FeaturePlace, NetworkError, as_network, find_features
from fusion.networks.names import ForeignName, parse_name

if TYPE_CHECKING:
    from fusion.networks import ImageSpec

_PLACES: dict[tuple[str, "ImageSpec"], FeaturePlace] = {}
_DROPOUTS = re.compile("Dropout.*|StochasticDepth|DropPath|DropBlock2d")


def is_foreign(name: str) -> bool:
    """Whether `name` is that of a network which is none of ours."""
    return ":" in name and parse_name(name) is not None


def exists(name: str) -> bool:
    """Whether the library that `name` names has such a network; a function is not looked for.

    Raises:
        NetworkError: timm is not installed.
    """
    foreign = _parsed(name)
    if foreign.is_code:
        return True
    if foreign.library == "timm":
        return bool(_timm().is_model(foreign.architecture))
    import torchvision

    return foreign.architecture in torchvision.models.list_models(module=torchvision.models)


def build_foreign(name: str, spec: "ImageSpec") -> Network:
    """The network, freshly initialised from PyTorch's global stream; in `torch.device("meta")` only shapes.

    It has no dropout: its random numbers would belong to nobody (`fusion.seeding`).

    Raises:
        NetworkError: there is none of that name, or it does not take and give what `spec` says.
    """
    place = feature_place(name, spec)
    if place.classes != len(spec.classes):
        raise NetworkError(f"{name} gives {place.classes:,} logits, not {len(spec.classes):,}")
    if torch.get_default_device().type == "meta":
        return as_network(build_unfilled(name, spec).to("meta"), place)
    return as_network(_construct(name, spec), place)


def build_unfilled(name: str, spec: "ImageSpec") -> nn.Module:
    """The network as its library makes it, but with its parameters on the meta device, for weights that come.

    Its buffers are real: those that no state dict holds would else have no values. The global stream of
    random numbers stays where it is.
    """

    def to_meta(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> Any:
        if parameter is None:
            return None
        return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)

    with (
        register_module_parameter_registration_hook(to_meta),
        torch.device("cpu"),
        torch.random.fork_rng(devices=[]),
    ):
        return _construct(name, spec)


def feature_place(name: str, spec: "ImageSpec") -> FeaturePlace:
    """Where in the network its last convolutional map arises; looked for once in every process.

    Raises:
        NetworkError: as `build_foreign`.
    """
    if (name, spec) not in _PLACES:
        twin = build_unfilled(name, spec).to("meta").eval()
        _PLACES[name, spec] = find_features(twin, name, spec.channels, spec.size)
    return _PLACES[name, spec]


def _construct(name: str, spec: "ImageSpec") -> nn.Module:
    foreign = _parsed(name)
    if not exists(name):
        raise NetworkError(f"{foreign.library} has no classifier {foreign.architecture!r}")
    make = _maker(foreign, spec)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # How a library initialises weights in future versions of it.
            model = make()
    except Exception as error:  # Whatever it is, it comes of the name and arguments that were given.
        raise NetworkError(f"{name} cannot be built: {type(error).__name__}: {_first_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise NetworkError(f"{name} gives no torch.nn.Module")
    if foreign.library == "torchvision" and spec.channels != 3:
        _take_channels(model, spec.channels)
    for module in model.modules():
        if _DROPOUTS.fullmatch(type(module).__name__):
            for rate in {"p", "drop_prob"} & set(vars(module)):
                setattr(module, rate, 0.0)
    return model


def _maker(foreign: ForeignName, spec: "ImageSpec") -> Callable[[], Any]:
    arguments = foreign.arguments
    if foreign.library == "torchvision":
        from torchvision.models import get_model

        return lambda: get_model(
            foreign.architecture, weights=None, num_classes=len(spec.classes), **arguments
        )
    if foreign.library == "timm":
        create = _timm().create_model
        numbers = {"num_classes": len(spec.classes), "in_chans": spec.channels}
        return lambda: create(foreign.architecture, pretrained=False, **numbers, **arguments)
    try:
        function = getattr(importlib.import_module(foreign.library), foreign.architecture)
    except (ImportError, AttributeError) as error:
        raise NetworkError(f"{foreign.library}:{foreign.architecture}: {_first_line(error)}") from error
    return lambda: function(**arguments)


def _take_channels(model: nn.Module, channels: int) -> None:
    """torchvision has no argument for it: replace the first convolution, as its users do."""
    for path, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            parent, _, name = path.rpartition(".")
            replacement = nn.Conv2d(
                channels,
                layer.out_channels,
                layer.kernel_size,  # type: ignore[arg-type]
                layer.stride,  # type: ignore[arg-type]
                layer.padding,  # type: ignore[arg-type]
                bias=layer.bias is not None,
            )
            setattr(model.get_submodule(parent), name, replacement)
            return


def _parsed(name: str) -> ForeignName:
    foreign = parse_name(name)
    if foreign is None:
        raise NetworkError(f"unknown network {name!r}")
    return foreign


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise NetworkError("timm's networks need the package timm: pip install 'dfmf[timm]'") from error
    return timm


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:300]
