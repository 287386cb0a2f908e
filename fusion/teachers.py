"""A pretrained classifier as its party hands it over: weights and a card that says what they are.

On disk a classifier is two files beside each other: `NAME.safetensors` with the network's state dict, and
`NAME.json` with its card. Neither can execute code when read.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from fusion.cards import TeacherCard, card_entries, card_path, read_card
from fusion.networks import Classifier, NetworkError, build_without_weights
from fusion.networks.foreign import is_foreign
from fusion.safetensors_file import most_bytes, read_tensors
from fusion.untrusted import Refused, one_line, read_file

__all__ = ["Teacher", "TeacherCard", "TeacherError", "card_path", "load_teacher", "save_teacher"]

SUFFIX = ".safetensors"
MAX_BATCHES_TRACKED = 2**53
PROBE_SIZE = 32


class TeacherError(ValueError):
    """A teacher's files are missing, damaged or contradict each other: one line for the user."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher(TeacherCard):
    """One party's classifier: the network's name and weights, and what it takes and gives."""

    weights: Mapping[str, Tensor]

    @property
    def card(self) -> TeacherCard:
        """The same without the weights."""
        return TeacherCard(name=self.name, network=self.network, spec=self.spec)

    def build(self) -> Classifier:
        """The classifier with its weights, in evaluation mode."""
        network = build_without_weights(self.network, self.spec)
        # One memory layout, wherever the weights come from: kernels, and so bits, depend on it.
        own = {
            name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in self.weights.items()
        }
        network.load_state_dict(own, assign=True)
        return Classifier(network, self.spec.mean, self.spec.std).eval()


def save_teacher(teacher: Teacher, path: Path, **extra: Any) -> None:
    """Write `path` (ending in .safetensors) and its card beside it; `extra` goes into the card.

    Both files appear whole or not at all.

    Raises:
        TeacherError: the card would say what `load_teacher` refuses.
    """
    data = save_tensors({name: tensor.contiguous().cpu() for name, tensor in teacher.weights.items()})
    with naming(card_path(path)):
        card = card_entries(teacher) | {"sha256": hashlib.sha256(data).hexdigest()} | extra
    _write_whole(path, data)
    _write_whole(card_path(path), json.dumps(card, indent=2, ensure_ascii=False).encode())


def load_teacher(path: Path, name: str | None = None) -> Teacher:
    """Read the classifier at `path` (its .safetensors file), checked against its card and its architecture.

    Nothing of it is trusted: `docs/security.md` has what is checked. `name` replaces the card's.

    Raises:
        TeacherError: what is wrong, and with which file.
    """
    return read_teacher(path, name)[0]


def read_teacher(
    path: Path, name: str | None = None, trusted: str | None = None
) -> tuple[Teacher, dict[str, Any]]:
    """As `load_teacher`, with all that the card says; `trusted` is the network that a person named
    (`fusion.cards.read_card`).

    Raises:
        TeacherError: what is wrong, and with which file.
    """
    if path.suffix != SUFFIX:
        raise TeacherError(f"{one_line(str(path))}: no {SUFFIX} file")
    with naming(card_path(path)):
        card, entries = read_card(card_path(path), trusted)
    with naming(path):
        weights = _read_weights(path, card, entries["sha256"])
        teacher = Teacher(name=name or card.name, network=card.network, spec=card.spec, weights=weights)
        check_outputs(teacher)
    return teacher, entries


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What is refused within the block becomes a `TeacherError` that names the file.

    Raises:
        TeacherError: something was refused.
    """
    try:
        yield
    except (Refused, NetworkError) as error:
        raise TeacherError(f"{one_line(str(path))}: {error}") from error


def _read_weights(path: Path, card: TeacherCard, sha256: str) -> dict[str, Tensor]:
    """The tensors must be exactly those of the architecture, and hold what it can compute with."""
    expected = build_without_weights(card.network, card.spec).state_dict()
    what = f"the weights of {card.network} with {len(card.spec.classes):,} classes"
    data = read_file(path, at_most=most_bytes(expected), what=what)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Refused(f"truncated or changed; its SHA-256 is not the one in {card_path(path).name}")
    weights = read_tensors(data, expected, what=what)
    check_values(weights)
    return weights


def check_values(weights: Mapping[str, Tensor]) -> None:
    """They must be what a network can compute with.

    Raises:
        Refused: a value is not finite, a variance below 0, or a counter out of its range.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise Refused(f"{name} holds values that are not finite")
        if name.endswith("running_var") and (tensor < 0).any():
            raise Refused(f"{name} holds variances below 0")
        if name.endswith("num_batches_tracked") and not 0 <= tensor.item() <= MAX_BATCHES_TRACKED:
            raise Refused(f"{name} must be 0 to {MAX_BATCHES_TRACKED} (got {tensor.item()})")


@torch.no_grad()
def check_outputs(teacher: Teacher) -> None:
    """Finite weights can still overflow: one small image of noise shows those that always do.

    Raises:
        Refused: they do.
    """
    size = teacher.spec.size if is_foreign(teacher.network) else min(teacher.spec.size, PROBE_SIZE)
    noise = torch.rand(1, teacher.spec.channels, size, size, generator=torch.Generator().manual_seed(0))
    if not all(torch.isfinite(output).all() for output in teacher.build()(noise)):
        raise Refused("gives outputs that are not finite")


def _write_whole(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
