"""The files of a checkpoint: tensors of the student and of each party, what it carries, and a manifest that
names every file's size and hash."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from orchestrator.snapshot import PartySnapshot, Snapshot, spent_of
from orchestrator.storage import MANIFEST, Storage

FORMAT = 1
STUDENT = "student.safetensors"
CARRIED = "carried"
MAX_MANIFEST_BYTES = 16 * 2**20
_PARTY = re.compile(r"party-(\d{1,6})\.safetensors")
_CARRIED = re.compile(r"carried-[^/\0]+")


class Damaged(ValueError):
    """A checkpoint is not what was written: the file and what is wrong with it."""


MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
"""A file of a checkpoint is not there. Of other OSErrors the checkpoint knows nothing."""
UNREADABLE = (*MISSING, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What reading a damaged checkpoint may raise; its content decides which."""


def to_files(
    snapshot: Snapshot, identity: Mapping[str, Any], carried: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """A checkpoint's files, the manifest last. Those that it carries have names without folders there."""
    tensors = {f"party-{index}.safetensors": party.state for index, party in snapshot.parties.items()}
    if snapshot.student is not None:
        tensors[STUDENT] = snapshot.student
    files = {name: save(dict(state)) for name, state in tensors.items()}
    extra = {f"carried-{path.replace('/', '--')}": (path, data) for path, data in (carried or {}).items()}
    content = {
        "format": FORMAT,
        "identity": identity,
        "iterations": snapshot.iterations,
        "rewinds": snapshot.rewinds,
        "spent": dataclasses.asdict(snapshot.spent),
        "parties": {
            str(index): {
                "warmup_steps": one.warmup_steps,
                "iterations": one.iterations,
                "metrics": _in_hex(one.metrics),
            }
            for index, one in snapshot.parties.items()
        },
        "records": [_in_hex(one) for one in snapshot.records],
        "files": {name: _entry(data) for name, data in files.items()},
        CARRIED: {name: {"path": path, **_entry(data)} for name, (path, data) in extra.items()},
    }
    return {**files, **{name: data for name, (_, data) in extra.items()}, MANIFEST: _sealed(content)}


def carried_files(storage: Storage, folder: str) -> Iterator[tuple[str, bytes]]:
    """Path and content of what the checkpoint `folder` carries.

    Raises:
        as `from_files` and `read_manifest`.
    """
    for name, entry in read_manifest(storage, folder).get(CARRIED, {}).items():
        if not _CARRIED.fullmatch(name):
            raise Damaged(f"{MANIFEST}: unknown file {name!r}")
        yield str(entry["path"]), _content(storage, folder, name, entry)


def from_files(storage: Storage, folder: str, manifest: Mapping[str, Any]) -> Snapshot:
    """The snapshot that `manifest` describes.

    Raises:
        Damaged, OSError: a file is not what was written.
        LookupError, TypeError, ValueError, AttributeError: the manifest is not one that `to_files` makes.
    """
    tensors = {name: _tensors(storage, folder, name, entry) for name, entry in manifest["files"].items()}
    return Snapshot(
        iterations=int(manifest["iterations"]),
        rewinds=int(manifest["rewinds"]),
        spent=spent_of(manifest.get("spent", {})),  # Caches of before have none.
        records=tuple(_from_hex(one) for one in manifest["records"]),
        student=tensors.get(STUDENT),
        parties={
            int(index): PartySnapshot(
                warmup_steps=int(one["warmup_steps"]),
                iterations=int(one["iterations"]),
                metrics=_from_hex(one["metrics"]),
                state=tensors[f"party-{int(index)}.safetensors"],
            )
            for index, one in manifest["parties"].items()
        },
    )


def _in_hex(metrics: Mapping[str, float]) -> dict[str, str]:
    """Every bit of a number, also of one that is not finite."""
    return {name: value.hex() for name, value in metrics.items()}


def _from_hex(metrics: Mapping[str, str]) -> dict[str, float]:
    return {name: float.fromhex(value) for name, value in metrics.items()}


def in_words(error: BaseException) -> str:
    """What one of `UNREADABLE` says of a checkpoint."""
    if isinstance(error, Damaged):
        return str(error)
    if isinstance(error, MISSING):
        return f"a file is missing: {Path(error.filename).name}" if error.filename else "a file is missing"
    return f"{MANIFEST}: {type(error).__name__}"


def read_manifest(storage: Storage, folder: str) -> dict[str, Any]:
    """What `to_files` said of a checkpoint.

    Raises:
        Damaged, OSError: it is not what was written.
        LookupError, TypeError, ValueError: it is no manifest.
    """
    if storage.size(folder, MANIFEST) > MAX_MANIFEST_BYTES:
        raise Damaged(f"{MANIFEST}: larger than {MAX_MANIFEST_BYTES} bytes")
    data = storage.read(folder, MANIFEST)
    content: dict[str, Any] = json.loads(data)["content"]
    if data != _sealed(content):
        raise Damaged(f"{MANIFEST}: its hash does not match")
    if content["format"] != FORMAT:
        raise Damaged(f"{MANIFEST}: format {content['format']!r}, not {FORMAT}")
    return content


def _sealed(content: Mapping[str, Any]) -> bytes:
    """The manifest's bytes: what is in it, and the hash of that."""
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return (json.dumps({"sha256": digest, "content": content}, indent=1) + "\n").encode()


def _tensors(storage: Storage, folder: str, name: str, entry: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    if name != STUDENT and not _PARTY.fullmatch(name):
        raise Damaged(f"{MANIFEST}: unknown file {name!r}")
    try:
        return load(_content(storage, folder, name, entry))
    except SafetensorError as error:
        raise Damaged(f"{name}: {error}") from error


def _content(storage: Storage, folder: str, name: str, entry: Mapping[str, Any]) -> bytes:
    if storage.size(folder, name) != entry["bytes"]:
        raise Damaged(f"{name}: {storage.size(folder, name)} bytes, not {entry['bytes']}")
    data = storage.read(folder, name)
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise Damaged(f"{name}: its hash does not match")
    return data


def _entry(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
