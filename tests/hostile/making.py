"""How the hostile cases are made: each is a function that writes into a folder what a party hands in."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import load, save
from torch import Tensor

from fusion.teachers import save_teacher
from tests.tiny import teacher

Case: TypeAlias = Callable[[Path], Path]
CASES: dict[str, tuple[Case, str]] = {}
"""Name to (what writes it and returns the path to load, the words with which it must be refused)."""
MARKER = "executed"
"""The file that a payload creates beside the one it came in."""
ABSENT = "absent"


def case(words: str) -> Callable[[Case], Case]:
    """Register a case that must be refused with `words`, a regular expression."""

    def register(function: Case) -> Case:
        assert function.__name__ not in CASES
        CASES[function.__name__] = (function, words)
        return function

    return register


class Payload:
    """Creates the marker when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.command = f"touch {folder / MARKER}"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The working directory is `folder` within the block: for paths that are relative or long."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def valid(folder: Path) -> Path:
    """What a party hands in that means no harm."""
    save_teacher(teacher(name="one"), folder / "one.safetensors")
    return folder / "one.safetensors"


@cache
def valid_bytes() -> bytes:
    """The weights of `valid`."""
    return save({name: tensor.contiguous() for name, tensor in teacher().weights.items()})


def weights() -> dict[str, Tensor]:
    """The same as tensors that a case may change."""
    return load(valid_bytes())


def valid_header() -> tuple[dict[str, Any], bytes]:
    """The header of `valid_bytes` and what follows it."""
    length = int.from_bytes(valid_bytes()[:8], "little")
    return json.loads(valid_bytes()[8 : 8 + length]), valid_bytes()[8 + length :]


def container(header: object, data: bytes, length: int | None = None) -> bytes:
    """A safetensors file of any header: JSON of an object, or bytes as they are."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little", signed=False) + text + data


def hand_in(folder: Path, data: bytes, **card: object) -> Path:
    """`data` as weights with a card that is right, hash included, but for the changes."""
    path = valid(folder)
    path.write_bytes(data)
    change_card(path, **({"sha256": hashlib.sha256(data).hexdigest()} | card))
    return path


def hand_in_tensors(folder: Path, **changes: Tensor) -> Path:
    """The valid weights with some replaced; `__` in a keyword stands for a dot."""
    named = {name.replace("__", "."): tensor for name, tensor in changes.items()}
    return hand_in(folder, save({**weights(), **named}))


def change_card(path: Path, **changes: object) -> Path:
    """The card beside `path` with other values; `ABSENT` takes a key away."""
    card = json.loads(path.with_suffix(".json").read_text()) | changes
    kept = {key: value for key, value in card.items() if value is not ABSENT}
    return write_card(path, json.dumps(kept).encode())


def with_card(folder: Path, **changes: object) -> Path:
    """Valid weights and a card with these changes."""
    return change_card(valid(folder), **changes)


def write_card(path: Path, text: bytes) -> Path:
    """Any bytes as the card beside `path`."""
    path.with_suffix(".json").write_bytes(text)
    return path


def tensor_of(value: float, name: str) -> Tensor:
    """A tensor full of `value` in the shape of the valid one."""
    return torch.full_like(weights()[name], value)
