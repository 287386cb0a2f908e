"""State dicts that `torch.save` wrote.

A pickle is a program: it is looked through before PyTorch reads it, which it does with `weights_only=True`.
"""

import io
import pickletools
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from fusion.stored import MAX_TENSORS, Stored
from fusion.untrusted import Refused, shown
from fusion.zip_directory import check_directory

SUFFIXES = (".pt", ".pth", ".th", ".bin", ".ckpt")
PLACES = ("state_dict", "model_state_dict", "model", "net")
"""Where checkpoints keep their state dict; Lightning under the first."""
MAX_PICKLE_BYTES = 4_000_000
MAX_OPERATIONS = 300_000
MAX_OLD_BYTES = 2**30
"""Of a file in the form before PyTorch 1.6, which is read as a whole."""
INSTEAD = "whoever made it saves the weights alone: torch.save(model.state_dict(), FILE)"
_OLD_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")
_OLD_PICKLES = 5
_TYPES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_HARMLESS = {
    "collections OrderedDict",
    "collections Counter",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch Size",
    "torch device",
    *(f"torch {one}Storage" for one in _TYPES),
    *(f"torch {one}" for one in ("float32", "float16", "bfloat16", "float64", "int64", "int32", "bool")),
}
"""What a pickle may name. Of what PyTorch allows there is more, some of which takes memory at will."""
_OTHER_CALLS = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}


def open_torch_file(file: BinaryIO, size: int) -> Stored:
    """The state dict in a seekable file of `size` bytes; the file must stay open until it is loaded.

    Raises:
        Refused: it is damaged, another format, holds code or no state dict.
    """
    start = file.read(512)
    file.seek(0)
    if start[:2] == b"PK":
        _check_archive(file, size)
        form, shapes = _state_dict(_load(file, "meta"))
        return Stored(f"PyTorch file, {form}", shapes, lambda: _state_dict(_load(file, "cpu"))[1], size)
    if start[257:262] == b"ustar" or start.startswith(
        (b"sys_info\0", b"storages", b"tensors\0", b"pickle\0")
    ):
        raise Refused(f"a tar archive of PyTorch before 0.1.10, which is not read; {INSTEAD}")
    if _OLD_MAGIC not in start[:16]:
        kind = "a pickle" if start[:1] == b"\x80" else "another format"
        raise Refused(f"no file of torch.save ({kind}); {INSTEAD}")
    if size > MAX_OLD_BYTES:
        raise Refused(
            f"larger than is read of the form before PyTorch 1.6 ({size:,} bytes, at most {MAX_OLD_BYTES:,})"
        )
    data = file.read(size)
    _check_pickles(io.BytesIO(data), _OLD_PICKLES)
    form, tensors = _state_dict(_load(io.BytesIO(data), "cpu"))
    shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
    return Stored(f"PyTorch file (before 1.6), {form}", shapes, lambda: tensors, size)


def _load(file: BinaryIO, device: str) -> Any:
    file.seek(0)
    try:
        return torch.load(file, map_location=device, weights_only=True)  # noqa: TID251 - the one place
    except (
        Exception
    ) as error:  # What may stand in it has been checked: it is damaged, however PyTorch says it.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Refused(f"truncated or damaged ({shown(reason)})") from error


def _check_archive(file: BinaryIO, size: int) -> None:
    """A zip archive as `torch.save` writes it: nothing compressed, no code, a pickle of a sane size."""
    try:
        check_directory(file, size)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = [one.filename for one in entries]
            if any("/code/" in name or name.endswith("constants.pkl") for name in names):
                raise Refused(f"TorchScript, which is a program; {INSTEAD}")
            if any(one.filename != one.orig_filename for one in entries):
                raise Refused("a zip archive whose entries have several names")
            pickles = [one for one in entries if one.filename.rpartition("/")[2] == "data.pkl"]
            if len(pickles) != 1:
                raise Refused(
                    f"no file of torch.save (a zip archive with {len(pickles)} data.pkl); {INSTEAD}"
                )
            if any(one.compress_type != zipfile.ZIP_STORED for one in entries):
                raise Refused("a zip archive with compressed entries, which torch.save does not write")
            if len(entries) > MAX_TENSORS or sum(one.file_size for one in entries) > size:
                raise Refused(f"a zip archive whose {len(entries):,} entries overlap or are too many")
            if pickles[0].file_size > MAX_PICKLE_BYTES:
                raise Refused(f"a pickle of {pickles[0].file_size:,} bytes; at most {MAX_PICKLE_BYTES:,}")
            program = archive.read(pickles[0])
    except Refused:
        raise
    except Exception as error:  # `zipfile` has many ways to stumble over a damaged archive.
        raise Refused(f"truncated or damaged ({shown(str(error))})") from error
    _check_pickles(io.BytesIO(program), 1)


def _check_pickles(stream: io.BytesIO, count: int) -> None:
    operations = 0
    try:
        for _ in range(count):
            for operation, argument, _position in pickletools.genops(stream):
                operations += 1
                if operations > MAX_OPERATIONS:
                    raise Refused(f"a pickle of more than {MAX_OPERATIONS:,} operations beside the tensors")
                if operation.name == "GLOBAL" and argument not in _HARMLESS:
                    name = str(argument).replace(" ", ".")
                    raise Refused(f"holds more than tensors: {shown(name)}, which is not run; {INSTEAD}")
                if operation.name in _OTHER_CALLS:
                    raise Refused(f"holds more than tensors ({operation.name}), which is not run; {INSTEAD}")
    except Refused:
        raise
    except Exception as error:  # `pickletools` raises what it meets.
        raise Refused(f"truncated or damaged ({shown(str(error))})") from error


def _state_dict(loaded: object) -> tuple[str, Mapping[str, Tensor]]:
    if _is_state_dict(loaded):
        return "state dict", _checked(loaded)
    if isinstance(loaded, Mapping):
        for place in PLACES:
            if _is_state_dict(loaded.get(place)):
                return f"checkpoint, state dict under {place!r}", _checked(loaded[place])
        keys = list(loaded)[:5]
        raise Refused(
            f"holds no state dict: its keys are {shown(keys)}, none of {', '.join(PLACES)}; {INSTEAD}"
        )
    raise Refused(f"holds no state dict but {shown(type(loaded).__name__)}; {INSTEAD}")


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and 0 < len(value) <= MAX_TENSORS
        and all(isinstance(name, str) and isinstance(one, Tensor) for name, one in value.items())
    )


def _checked(value: Any) -> Mapping[str, Tensor]:
    for name, tensor in value.items():
        if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout is not torch.strided:
            raise Refused(f"{shown(name)} is no plain tensor")
    return {name: tensor.detach() for name, tensor in value.items()}
