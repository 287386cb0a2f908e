"""Safetensors files of which it is known what they must hold: checked before they are parsed.

The library refuses files whose tensors overlap, leave holes or lie outside of the file. It does take a
header of 100 MB
with a million tensors (seconds, gigabytes), the same name twice, and any names, shapes and types.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from fusion.untrusted import Refused, parse_json, shown

MAX_HEADER_BYTES = 1_000_000
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
    types.

    `expected` may lie on the meta device; the values are not checked. `what` says in messages what is
    expected.

    Raises:
        Refused: the file is damaged or holds anything else.
    """
    header = _header(data)
    missing = [name for name in expected if name not in header]
    unexpected = [name for name in header if name not in expected]
    if missing or unexpected:
        lists = [("missing", missing), ("unexpected", unexpected)]
        found = ", ".join(f"{word} {_some(names)}" for word, names in lists if names)
        raise Refused(f"not {what}: {found}")
    for name, tensor in expected.items():
        entry = header[name] if isinstance(header[name], dict) else {}
        dtype, shape = _DTYPES[tensor.dtype], list(tensor.shape)
        if entry.get("dtype") != dtype or entry.get("shape") != shape:
            stated = f"{_word(entry.get('dtype'))} {shown(entry.get('shape'))}"
            raise Refused(f"not {what}: {name} is {stated}, not {dtype} {shape}")
    try:
        return load(data)
    except SafetensorError as error:
        raise Refused(f"no safetensors file ({shown(str(error))})") from error


def _header(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, MAX_HEADER_BYTES):
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
