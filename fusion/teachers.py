"""A pretrained classifier as its party hands it over: weights and a card that says what they are.

On disk a classifier is two files beside each other: `NAME.safetensors` with the network's state dict, and
`NAME.json` with its card. Neither can execute code when read.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from fusion.networks import NETWORKS, Classifier, ImageSpec, build_network

CARD_SCHEMA = 1
MAX_CARD_BYTES = 1_000_000


class TeacherError(ValueError):
    """A teacher's files are missing, damaged or contradict each other: one line for the user."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherCard:
    """What may be known of a party's classifier by those who do not have it."""

    name: str
    network: str
    spec: ImageSpec


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
        with torch.device("meta"):  # No initial weights are drawn only to be replaced.
            network = build_network(self.network, self.spec)
        # One memory layout, wherever the weights come from: kernels, and so bits, depend on it.
        own = {
            name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in self.weights.items()
        }
        network.load_state_dict(own, assign=True)
        return Classifier(network, self.spec.mean, self.spec.std).eval()


def save_teacher(teacher: Teacher, path: Path, **extra: Any) -> None:
    """Write `path` (ending in .safetensors) and its card beside it; `extra` goes into the card.

    Both files appear whole or not at all.
    """
    data = save_tensors({name: tensor.contiguous().cpu() for name, tensor in teacher.weights.items()})
    card = {
        "schema": CARD_SCHEMA,
        "name": teacher.name,
        "network": teacher.network,
        "image_size": teacher.spec.size,
        "channels": teacher.spec.channels,
        "classes": list(teacher.spec.classes),
        "mean": list(teacher.spec.mean),
        "std": list(teacher.spec.std),
        "sha256": hashlib.sha256(data).hexdigest(),
        **extra,
    }
    _write_whole(path, data)
    _write_whole(card_path(path), json.dumps(card, indent=2).encode())


def load_teacher(path: Path, name: str | None = None) -> Teacher:
    """Read the classifier at `path` (its .safetensors file), checked against its card and its architecture.

    Raises:
        TeacherError: what is wrong, and with which file.
    """
    card = _read_card(card_path(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TeacherError(f"{path}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise TeacherError(
            f"{path}: truncated or changed; its SHA-256 is not the one in {card_path(path).name}"
        )
    try:
        weights = load_tensors(data)
    except SafetensorError as error:
        raise TeacherError(f"{path}: no safetensors file ({error})") from error
    spec = ImageSpec(
        size=card["image_size"],
        channels=card["channels"],
        classes=tuple(card["classes"]),
        mean=tuple(card["mean"]),
        std=tuple(card["std"]),
    )
    teacher = Teacher(name=name or card["name"], network=card["network"], spec=spec, weights=weights)
    _check_weights(teacher, path)
    return teacher


def card_path(path: Path) -> Path:
    """Where the card of the weights at `path` lies."""
    return path.with_suffix(".json")


_CARD_TYPES: dict[str, type] = {
    "name": str,
    "network": str,
    "image_size": int,
    "channels": int,
    "classes": list,
    "mean": list,
    "std": list,
    "sha256": str,
}


def _read_card(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise TeacherError(f"{path}: larger than {MAX_CARD_BYTES} bytes; no card")
        card = json.loads(path.read_bytes())
    except OSError as error:
        raise TeacherError(
            f"{path}: {error.strerror}; a teacher needs this card beside its weights"
        ) from error
    except ValueError as error:
        raise TeacherError(f"{path}: no JSON ({error})") from error
    if not isinstance(card, dict) or card.get("schema") != CARD_SCHEMA:
        raise TeacherError(f"{path}: schema: must be {CARD_SCHEMA}")
    for key, kind in _CARD_TYPES.items():
        if not isinstance(card.get(key), kind):
            raise TeacherError(f"{path}: {key}: must be a {kind.__name__} (got {card.get(key)!r})")
    if card["network"] not in NETWORKS:
        raise TeacherError(f"{path}: network: unknown {card['network']!r} (known: {', '.join(NETWORKS)})")
    if not 8 <= card["image_size"] <= 1024 or card["channels"] not in (1, 3):
        raise TeacherError(f"{path}: image_size must be 8 to 1024 and channels 1 or 3")
    if len(card["classes"]) < 2 or not all(isinstance(one, str) for one in card["classes"]):
        raise TeacherError(f"{path}: classes: must be two or more names")
    for key in ("mean", "std"):
        numbers = [one for one in card[key] if isinstance(one, (int, float)) and not isinstance(one, bool)]
        if len(card[key]) != card["channels"] or len(numbers) != card["channels"]:
            raise TeacherError(f"{path}: {key}: must be {card['channels']} numbers")
    if min(card["std"]) <= 0:
        raise TeacherError(f"{path}: std: must be above 0")
    return card


def _check_weights(teacher: Teacher, path: Path) -> None:
    """The tensors must be exactly those of the architecture, and finite."""
    with torch.device("meta"):
        expected = {
            name: tensor.shape
            for name, tensor in build_network(teacher.network, teacher.spec).state_dict().items()
        }
    missing = [name for name in expected if name not in teacher.weights]
    unexpected = [name for name in teacher.weights if name not in expected]
    if missing or unexpected:
        raise TeacherError(
            f"{path}: not the weights of {teacher.network}: missing {missing[:5]}, unexpected "
            f"{unexpected[:5]}"
        )
    for name, shape in expected.items():
        tensor = teacher.weights[name]
        if tensor.shape != shape:
            raise TeacherError(
                f"{path}: {name} is {list(tensor.shape)}, but {teacher.network} with "
                f"{len(teacher.spec.classes)} classes has {list(shape)}"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise TeacherError(f"{path}: {name} holds values that are not finite")


def _write_whole(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
