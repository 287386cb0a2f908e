"""A teacher's card, the JSON file beside its weights: what it may say, and reading one that nobody vouches
for."""

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fusion.networks import NETWORKS, ImageSpec, NetworkError
from fusion.networks.foreign import exists
from fusion.networks.names import is_plain_foreign
from fusion.untrusted import Refused, parse_json, read_file, shown

CARD_SCHEMA = 1
MAX_CARD_BYTES = 4_000_000
MAX_CLASSES = 100_000
MAX_CLASS_LENGTH = 256
MAX_CLASSES_BYTES = 1_000_000
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""Names become folders, metrics and table rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherCard:
    """What may be known of a party's classifier by those who do not have it."""

    name: str
    network: str
    spec: ImageSpec


def card_path(path: Path) -> Path:
    """Where the card of the weights at `path` lies."""
    return path.with_suffix(".json")


def card_entries(card: TeacherCard) -> dict[str, Any]:
    """The card as JSON holds it, without the hash of the weights.

    Raises:
        Refused: it says what `read_card` would not take from somebody who vouches for its network.
    """
    entries = {
        "schema": CARD_SCHEMA,
        "name": card.name,
        "network": card.network,
        "image_size": card.spec.size,
        "channels": card.spec.channels,
        "classes": list(card.spec.classes),
        "mean": list(card.spec.mean),
        "std": list(card.spec.std),
    }
    _check(entries, card.network)
    return entries


def read_card(path: Path, trusted: str | None = None) -> tuple[TeacherCard, dict[str, Any]]:
    """The card at `path`, and all that it says: `sha256` of the weights that it belongs to, and other keys.

    `trusted` is the network that a person named: code and arguments are only taken from there.

    Raises:
        Refused: there is none, or it says what no card may say.
    """
    check_link(path)
    card = parse_json(read_file(path, at_most=MAX_CARD_BYTES, what="a card"))
    if not isinstance(card, dict):
        raise Refused("must be a JSON object")
    _check(card, trusted)
    sha256 = card.get("sha256")
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise Refused(f"sha256: must be 64 hexadecimal digits (got {shown(sha256)})")
    spec = ImageSpec(
        size=card["image_size"],
        channels=card["channels"],
        classes=tuple(card["classes"]),
        mean=tuple(card["mean"]),
        std=tuple(card["std"]),
    )
    return TeacherCard(name=card["name"], network=card["network"], spec=spec), card


def check_link(path: Path) -> None:
    """Refuse a link that leads out of its folder.

    Nobody typed this path: what came with the weights must not make us read what did not.

    Raises:
        Refused: it does.
    """
    # Only a link is followed here: resolving a path of a megabyte would take half a minute.
    linked = os.path.islink(path)  # noqa: PTH114 - Path.is_symlink raises of a name that is too long
    if linked and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(path.parent)):
        raise Refused("links out of its folder")


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "schema": (lambda value: type(value) is int and value == CARD_SCHEMA, str(CARD_SCHEMA)),
    "name": (
        lambda value: isinstance(value, str) and re.fullmatch(NAME_PATTERN, value) is not None,
        "1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', the first a letter or digit",
    ),
    "network": (
        # With arguments, or as code, only if it is the one that a person named.
        lambda value: isinstance(value, str) and (value in NETWORKS or is_plain_foreign(value)),
        f"a known network: {', '.join(NETWORKS)}, torchvision:NAME, timm:NAME",
    ),
    "image_size": (lambda value: type(value) is int and 8 <= value <= 1024, "8 to 1024"),
    "channels": (lambda value: type(value) is int and value in (1, 3), "1 or 3"),
    "classes": (
        lambda value: isinstance(value, list) and 2 <= len(value) <= MAX_CLASSES,
        f"a list of 2 to {MAX_CLASSES:,} names",
    ),
    "mean": (lambda value: _are_numbers(value, -1e3, 1e3), "a list of numbers from -1000 to 1000"),
    "std": (lambda value: _are_numbers(value, 1e-6, 1e6), "a list of numbers from 1e-6 to 1e6"),
}


def check_entry(key: str, value: object) -> None:
    """Refuse what no card may say under `key`, whatever else it says.

    Raises:
        Refused: what would be allowed.
    """
    holds, allowed = _RULES[key]
    if not holds(value):
        raise Refused(f"{key}: must be {allowed} (got {shown(value)})")


def _check(card: dict[str, Any], trusted: str | None) -> None:
    for key in _RULES:
        if key != "network" or trusted is None or card.get(key) != trusted:
            check_entry(key, card.get(key))
    _check_network(card["network"])
    for key in ("mean", "std"):
        if len(card[key]) != card["channels"]:
            raise Refused(
                f"{key}: must be {card['channels']} numbers, one a channel (got {len(card[key]):,})"
            )
    _check_classes(card["classes"])


def _check_network(network: str) -> None:
    try:
        known = network in NETWORKS or exists(network)
    except NetworkError as error:
        raise Refused(f"network: {error}") from error
    if not known:
        raise Refused(f"network: {network.partition(':')[0]} has no classifier {shown(network)}")


def _are_numbers(value: object, least: float, most: float) -> bool:
    return isinstance(value, list) and all(
        type(one) in (int, float) and least <= one <= most for one in value
    )


def _check_classes(classes: Sequence[object]) -> None:
    seen: set[str] = set()
    for one in classes:
        if not isinstance(one, str) or not 1 <= len(one) <= MAX_CLASS_LENGTH or not one.isprintable():
            raise Refused(
                f"classes: must be names of 1 to {MAX_CLASS_LENGTH} printable characters (got {shown(one)})"
            )
        if one in seen:
            raise Refused(f"classes: {shown(one)} stands twice")
        seen.add(one)
    length = sum(len(one.encode()) for one in seen)
    if length > MAX_CLASSES_BYTES:
        raise Refused(f"classes: names of {length:,} bytes together; at most {MAX_CLASSES_BYTES:,}")
