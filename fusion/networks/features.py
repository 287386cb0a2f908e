"""The last convolutional map of any network: found by looking at what its modules give, taken by a hook."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fusion.networks.classifier import Network, Prediction

LARGER = 4
"""Images so much larger are tried first: of small ones the last map may be one pixel, as pooled ones are."""


class NetworkError(ValueError):
    """A network cannot be built, or cannot do what is asked of it: one line."""


class FeaturePlace(NamedTuple):
    """Where a network's last convolutional map arises, and what was seen there."""

    module: str
    call: int
    """Which of the module's calls in one forward pass, from 0."""
    channels: int
    height: int
    width: int
    classes: int
    """Width of the logits."""
    idle: frozenset[str]
    """Modules that a prediction does not need, such as auxiliary heads."""


class ForeignNetwork(Network):
    """Our interface, for a class that knows nothing of us and keeps its names and its forward pass."""

    place: FeaturePlace

    def predict(self, images: Tensor) -> Prediction:
        seen: list[Tensor] = []
        watched = self.get_submodule(self.place.module)
        with watched.register_forward_hook(lambda _module, _inputs, output: seen.append(output)):
            logits = _logits(self(images))
        return Prediction(logits, seen[self.place.call])

    def feature_map(self, images: Tensor) -> Tensor:
        return self.predict(images).features


def as_network(model: nn.Module, place: FeaturePlace) -> Network:
    """The same object with the interface of our networks."""
    own = type(model)
    body = {"forward": own.forward, "place": place, "feature_channels": place.channels}
    model.__class__ = type(own.__name__, (ForeignNetwork, own), body)
    for name in place.idle:
        model.get_submodule(name).is_idle = True  # type: ignore[assignment]
    return model  # type: ignore[return-value]


def find_features(model: nn.Module, name: str, channels: int, size: int) -> FeaturePlace:
    """Look for the map in `model`, which lies on the meta device in evaluation mode.

    It is what the last module gives that is no pooling and whose output is [batch, channels, side, side],
    with more than one pixel if there is any such.

    Raises:
        NetworkError: no such map, no logits, or no such images.
    """
    try:
        calls, _ = _watch(model, channels, LARGER * size)
    except Exception:  # noqa: BLE001 - it takes one size only, and says so in its own way
        calls = []
    try:
        real_calls, output = _watch(model, channels, size)
        logits = _logits(output)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise NetworkError(f"{name} does not take {channels}x{size}x{size} images: {reason}") from error
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise NetworkError(f"{name} gives no logits [batch, classes]")
    found = _last_map(calls) or _last_map(real_calls)
    shapes = {(path, call): shape for path, call, shape, _ in real_calls}
    if found is None or found not in shapes:
        raise NetworkError(f"{name} has no convolutional map [batch, channels, height, width]")
    _, width, rows, columns = shapes[found]
    called = {path for path, *_ in real_calls}
    idle = frozenset(path for path, _ in model.named_modules() if path and path not in called)
    return FeaturePlace(*found, width, rows, columns, logits.shape[1], idle)


def _last_map(calls: list[tuple[str, int, torch.Size, bool]]) -> tuple[str, int] | None:
    """Of square images maps are square; what attention has as [batch, heads, tokens, width] is not."""
    maps = [one for one in calls if not one[3] and len(one[2]) == 4 and one[2][2] == one[2][3]]
    wide = [one for one in maps if one[2][2] > 1]
    return (wide or maps)[-1][:2] if maps else None


def _watch(model: nn.Module, channels: int, size: int) -> tuple[list[tuple[str, int, torch.Size, bool]], Any]:
    """Of each module's call, as it ends, path, number, shape, and whether it pools; and the output."""
    calls: list[tuple[str, int, torch.Size, bool]] = []
    counts: dict[str, int] = {}

    def note(path: str, module: nn.Module, output: object) -> None:
        number = counts[path] = counts.get(path, -1) + 1
        if isinstance(output, Tensor):
            calls.append((path, number, output.shape, "Pool" in type(module).__name__))
        else:
            calls.append((path, number, torch.Size(), False))

    handles = [
        module.register_forward_hook(lambda module, _inputs, output, path=path: note(path, module, output))
        for path, module in model.named_modules()
        if path
    ]
    try:
        with torch.no_grad():
            return calls, model(torch.zeros(2, channels, size, size, device="meta"))
    finally:
        for handle in handles:
            handle.remove()


def _logits(output: Any) -> Tensor:
    """In training mode some networks also give what their auxiliary heads say; the logits come first."""
    logits: Tensor = output if isinstance(output, Tensor) else output[0]
    return logits
