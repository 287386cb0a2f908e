"""Safetensors files of which it is known what they must hold: checked before they are parsed.

The library refuses files whose tensors overlap, leave holes or lie outside of the file. It does take a header
of 100 MB with a million tensors (seconds, gigabytes), the same name twice, and any names, shapes and types.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from fusion.stored import MAX_TENSORS, Stored
from fusion.untrusted import Refused, parse_json, shown

MAX_HEADER_BYTES = 1_000_000
_HALVES = ("F16", "BF16")
"""Accepted for float32."""
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def most_bytes(expected: Mapping[str, Tensor]) -> int:
    """The size of the largest file that may hold tensors like these."""
    return 8 + MAX_HEADER_BYTES + sum(tensor.nbytes for tensor in expected.values())


def read_tensors(data: bytes, expected: Mapping[str, Tensor], *, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, given as its bytes: exactly those of `expected`, in its shapes and
    types; half precision becomes float32.

    `expected` may lie on the meta device; the values are not checked. `what` says in messages what is
    expected.

    Raises:
        Refused: the file is damaged or holds anything else.
    """
    header = _header(data, len(data))
    missing = [name for name in expected if name not in header]
    unexpected = [name for name in header if name not in expected]
    if missing or unexpected:
        lists = [("missing", missing), ("unexpected", unexpected)]
        found = ", ".join(f"{word} {_some(names)}" for word, names in lists if names)
        raise Refused(f"not {what}: {found}")
    for name, tensor in expected.items():
        entry = header[name] if isinstance(header[name], dict) else {}
        dtype, shape = _DTYPES[tensor.dtype], list(tensor.shape)
        allowed = {dtype, *_HALVES} if dtype == "F32" else {dtype}
        if _word(entry.get("dtype")) not in allowed or entry.get("shape") != shape:
            stated = f"{_word(entry.get('dtype'))} {shown(entry.get('shape'))}"
            raise Refused(f"not {what}: {name} is {stated}, not {dtype} {shape}")
    return {name: tensor.to(expected[name].dtype) for name, tensor in _load(data).items()}


def open_safetensors(file: BinaryIO, size: int) -> Stored:
    """The tensors of a safetensors file of which nothing is known but its size; the file must stay open.

    Raises:
        Refused: the file is damaged.
    """
    header = _header(file.read(8 + MAX_HEADER_BYTES), size)
    if len(header) > MAX_TENSORS:
        raise Refused(f"{len(header):,} tensors; at most {MAX_TENSORS:,}")
    shapes = {name: _on_meta(name, entry) for name, entry in header.items()}

    def load_all() -> dict[str, Tensor]:
        file.seek(0)
        return _load(file.read(size + 1))

    return Stored("safetensors file", shapes, load_all, size)


def _on_meta(name: str, entry: Any) -> Tensor:
    types = {word: dtype for dtype, word in _DTYPES.items()}
    dtype = types.get(_word(entry.get("dtype"))) if isinstance(entry, dict) else None
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if dtype is None or not isinstance(shape, list) or len(shape) > 8:
        raise Refused(f"{shown(name)} is no tensor that is read here: {shown(entry)}")
    if not all(type(one) is int and 0 <= one < 2**40 for one in shape) or math.prod(shape) >= 2**40:
        raise Refused(f"{shown(name)} cannot have the shape {shown(shape)}")
    return torch.empty(shape, dtype=dtype, device="meta")


def _load(data: bytes) -> dict[str, Tensor]:
    try:
        return load(data)
    except SafetensorError as error:
        raise Refused(f"no safetensors file ({shown(str(error))})") from error


def _header(data: bytes, size: int) -> dict[str, Any]:
    """Of a file of `size` bytes that begins with `data`."""
    length = int.from_bytes(data[:8], "little")
    if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
        raise Refused(
            f"no safetensors file (header of {length:,} bytes; at most {MAX_HEADER_BYTES:,} are read)"
        )
    try:
        header = parse_json(data[8 : 8 + length])
    except Refused as error:
        raise Refused(f"no safetensors file (header: {error})") from error
    if not isinstance(header, dict):
        raise Refused("no safetensors file (header: no JSON object)")
    header.pop("__metadata__", None)
    return header


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(shown(name) for name in names[:3]) + more


def _word(dtype: object) -> str:
    return dtype if isinstance(dtype, str) and re.fullmatch(r"[A-Z0-9_]{1,10}", dtype) else shown(dtype)
