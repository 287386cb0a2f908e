"""Which stored tensors are which of a network's: prefixes, classes, channels, and what does not fit."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fusion.networks import NETWORKS, ImageSpec, NetworkError, build_without_weights
from fusion.networks.foreign import build_unfilled, feature_place, is_foreign
from fusion.networks.names import parse_name
from fusion.untrusted import Refused, shown

PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.", "network.")
"""DataParallel's, torch.compile's, and what people call the one network in a Lightning or other module."""
MAX_NESTING = 4
COUNTER = "num_batches_tracked"
"""Not in state dicts of PyTorch before 0.4.1; only BatchNorm layers without momentum use it."""
NEAR = 10
"""Architectures of torchvision that are tried: those nearest in their number of parameters, which changes"""
FARTHEST = 4.0
"""by no more than this factor with the number of classes."""
CLOSEST = 3
FAR = 0.3
SHOWN = 5
FLOATS = (torch.float32, torch.float16, torch.bfloat16)

Shapes = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Fit:
    """How stored tensors become a network's state dict."""

    names: Mapping[str, str]
    """The network's name of each to the stored one."""
    prefix: str
    """What was stripped."""
    left_out: Sequence[str]
    """Stored tensors that are not under the prefix."""
    counters: Sequence[str]
    """Counters that are not stored, and start at 0."""
    halves: int
    """Tensors of half precision, which become float32."""


def shapes_of(network: str, spec: ImageSpec) -> Shapes:
    """The state dict that the network must be given; only shapes and types are meant.

    Raises:
        Refused: there is no such network.
    """
    try:
        if is_foreign(network):
            return build_unfilled(network, spec).state_dict()
        return build_without_weights(network, spec).state_dict()
    except NetworkError as error:
        raise Refused(str(error)) from error


def blank_spec(*, size: int, channels: int, classes: int) -> ImageSpec:
    """Of images and a number of classes of which no more is known."""
    names = tuple(str(index) for index in range(classes))
    return ImageSpec(
        size=size, channels=channels, classes=names, mean=(0.0,) * channels, std=(1.0,) * channels
    )


def count_in(network: str, stored: Shapes, *, size: int) -> tuple[int | None, int | None]:
    """Channels and classes as the stored tensors have them, None for what they do not tell.

    The tensors that tell it are those whose shapes change with it.
    """
    foreign = parse_name(network)
    if foreign is not None and foreign.is_code:
        return None, None
    at = {
        (channels, classes): shapes_of(network, blank_spec(size=size, channels=channels, classes=classes))
        for channels, classes in ((3, 10), (1, 10), (3, 11))
    }
    names = fit_names(stored, at[3, 10]).names
    return (
        _size_where(at[3, 10], at[1, 10], stored, names),
        _size_where(at[3, 10], at[3, 11], stored, names),
    )


def logits_of_code(network: str, spec: ImageSpec) -> int:
    """Number of classes of a network that takes its own arguments.

    Raises:
        Refused: it cannot be built, or does not take such images.
    """
    try:
        return feature_place(network, spec).classes
    except NetworkError as error:
        raise Refused(str(error)) from error


def fit_names(stored: Shapes, expected: Shapes) -> Fit:
    """The prefix under which most of what is expected is stored; says nothing of shapes."""
    best = max(_prefixes(stored), key=lambda prefix: (_found(stored, expected, prefix), -len(prefix)))
    names = {name: best + name for name in expected if best + name in stored}
    return Fit(
        names=names,
        prefix=best,
        left_out=[name for name in stored if not name.startswith(best)],
        counters=[name for name in expected if name not in names and name.endswith(COUNTER)],
        halves=sum(stored[name].dtype in FLOATS[1:] for name in names.values()),
    )


def fit(stored: Shapes, expected: Shapes, what: str) -> Fit:
    """As `fit_names`, and everything is there in the right shape and type.

    Raises:
        Refused: it is not; names the first five of each, and the closest known architecture.
    """
    found = fit_names(stored, expected)
    under = [name[len(found.prefix) :] for name in stored if name.startswith(found.prefix)]
    missing = [name for name in expected if name not in found.names and name not in found.counters]
    unexpected = [name for name in under if name not in expected]
    wrong = [
        f"{name} is {_word(stored[source])}, not {_word(expected[name])}"
        for name, source in found.names.items()
        if not _same(stored[source], expected[name])
    ]
    if missing or unexpected or wrong:
        parts = [f"missing {_some(missing)}"] if missing else []
        parts += [f"unexpected {_some(unexpected)}"] if unexpected else []
        parts += ["; ".join(wrong[:SHOWN])] if wrong and not missing else []
        raise Refused(f"not {what}: {', '.join(parts)}; {closest(stored)}")
    return found


def closest(stored: Shapes) -> str:
    """What the tensors fit, or nearly fit: our networks and torchvision's classifiers, in a clause.

    Of torchvision's those are tried that have about as many parameters. The best few are looked at again,
    with the channels and classes that the tensors tell.
    """
    candidates = [*_ours(), *_torchvisions(stored)]
    scores = {one: _agreement(stored, one, channels=3, classes=10) for one in candidates}
    best = sorted(candidates, key=lambda one: -scores[one])[:CLOSEST]
    exact = {}
    for one in best:
        channels, classes = count_in(one.network, stored, size=one.size)
        exact[one.label] = _agreement(stored, one, channels=1 if channels == 1 else 3, classes=classes or 10)
    fitting = [label for label, score in exact.items() if score == 1]
    if fitting:
        return f"its tensors fit {' and '.join(fitting)}"
    label = max(exact, key=lambda label: exact[label])
    if exact[label] < FAR:
        return "no known architecture is close"
    return f"the closest known architecture is {label} ({100 * exact[label]:.0f} % of the tensors agree)"


class _Candidate(NamedTuple):
    network: str
    size: int
    label: str


def _agreement(stored: Shapes, candidate: _Candidate, *, channels: int, classes: int) -> float:
    """Share of the tensors of both that have the same name, shape and type."""
    spec = blank_spec(size=candidate.size, channels=channels, classes=classes)
    expected = shapes_of(candidate.network, spec)
    names = fit_names(stored, expected).names
    agreeing = sum(_same(stored[source], expected[name]) for name, source in names.items())
    return agreeing / max(len(expected), len(stored))


def _ours() -> list[_Candidate]:
    large = ("resnet18", "resnet34", "resnet50")
    small = [
        _Candidate(name, 32, f"{name} (image_size up to 64)" if name in large else name) for name in NETWORKS
    ]
    return [*small, *(_Candidate(name, 224, f"{name} (image_size above 64)") for name in large)]


def _torchvisions(stored: Shapes) -> list[_Candidate]:
    from torchvision import models

    statistics = (COUNTER, "running_mean", "running_var")
    own = max(1, sum(one.numel() for name, one in stored.items() if not name.endswith(statistics)))
    distance = {}
    for name in models.list_models(module=models):
        parameters = models.get_model_weights(name).DEFAULT.meta["num_params"]
        distance[name] = max(own / parameters, parameters / own)
    near = sorted(distance, key=lambda name: distance[name])[:NEAR]
    full = [f"torchvision:{name}" for name in near if distance[name] < FARTHEST]
    return [_Candidate(name, 224, name) for name in full]


def _prefixes(stored: Shapes) -> list[str]:
    """All chains of known prefixes that any tensor's name begins with."""
    found, last = [""], [""]
    for _ in range(MAX_NESTING):
        last = [
            chain + prefix
            for chain in last
            for prefix in PREFIXES
            if any(name.startswith(chain + prefix) for name in stored)
        ]
        found += last
    return found


def _found(stored: Shapes, expected: Shapes, prefix: str) -> int:
    return sum(prefix + name in stored for name in expected)


def _size_where(base: Shapes, other: Shapes, stored: Shapes, names: Mapping[str, str]) -> int | None:
    for name, tensor in base.items():
        changed = [
            axis
            for axis, pair in enumerate(zip(tensor.shape, other[name].shape, strict=True))
            if len(set(pair)) > 1
        ]
        if changed and name in names and stored[names[name]].dim() == tensor.dim():
            return int(stored[names[name]].shape[changed[0]])
    return None


def _same(stored: Tensor, expected: Tensor) -> bool:
    types = FLOATS if expected.dtype == torch.float32 else (expected.dtype,)
    return stored.shape == expected.shape and stored.dtype in types


def _word(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {shown(list(tensor.shape))}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(shown(name[:100]) for name in names[:SHOWN]) + more
