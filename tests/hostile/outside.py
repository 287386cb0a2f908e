"""Files of other people's formats that do harm, lie or are damaged; what is right in them is a resnet8-w8."""

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.hostile.foreign import torch_saved, torchscript_archive
from tests.hostile.making import Case, Payload, container, tensor_of, valid_bytes, weights
from tests.tiny import SPEC

OUTSIDE: dict[str, tuple[Case, str]] = {}
"""As `making.CASES`, for `read_outside`."""
GIVEN: dict[str, Any] = {
    "network": "resnet8-w8",
    "classes": list(SPEC.classes),
    "image_size": SPEC.size,
    "mean": list(SPEC.mean),
    "std": list(SPEC.std),
}
MORE = "holds more than tensors"
DAMAGED = "truncated or damaged"


def outside(words: str) -> Any:
    def register(function: Case) -> Case:
        assert function.__name__ not in OUTSIDE
        OUTSIDE[function.__name__] = (function, words)
        return function

    return register


def written(folder: Path, data: bytes, name: str = "one.pt") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def archive(program: bytes, compression: int = zipfile.ZIP_STORED, **entries: bytes) -> bytes:
    """A zip archive as torch.save writes it around any pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("one/data.pkl", program)
        file.writestr("one/version", "3\n")
        for name, data in entries.items():
            file.writestr(f"one/{name}", data)
    return buffer.getvalue()


def changed(**changes: Tensor) -> bytes:
    """The valid state dict with some tensors replaced."""
    named = {name.replace("__", "."): tensor for name, tensor in changes.items()}
    return torch_saved({**weights(), **named})


class Calling:
    """Anything that PyTorch itself may call, with any arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@outside(f"{MORE}: 'posix.system'")
def payload_as_lightning_checkpoint(folder: Path) -> Path:
    return written(folder, torch_saved({"state_dict": weights(), "callbacks": Payload(folder)}), "one.ckpt")


@outside(f"{MORE}: 'posix.system'")
def payload_as_bin(folder: Path) -> Path:
    return written(folder, torch_saved({"fc.weight": Payload(folder)}), "one.bin")


@outside(f"{MORE}: 'posix.system'")
def payload_as_pth_in_the_old_format(folder: Path) -> Path:
    return written(folder, torch_saved(Payload(folder), _use_new_zipfile_serialization=False), "one.pth")


@outside(r"no file of torch.save \(a pickle\)")
def payload_as_plain_pickle(folder: Path) -> Path:
    return written(folder, pickle.dumps(Payload(folder), protocol=2), "one.th")


@outside(f"{MORE} \\(STACK_GLOBAL\\)")
def payload_of_protocol_4_in_an_archive(folder: Path) -> Path:
    return written(folder, archive(pickle.dumps(Payload(folder), protocol=4)))


@outside("one/weights.bin: No such file|a folder without config.json")
def folder_with_a_pickle_for_whatever(folder: Path) -> Path:
    (folder / "net").mkdir()
    written(folder / "net", pickle.dumps(Payload(folder)), "training_args.bin")
    return folder / "net"


@outside(f"{MORE}: 'posix.system'")
def folder_with_a_payload_for_weights(folder: Path) -> Path:
    (folder / "net").mkdir()
    (folder / "net" / "config.json").write_text('{"architecture": "test_resnet"}')
    written(folder / "net", torch_saved(Payload(folder)), "pytorch_model.bin")
    return folder / "net"


@outside(f"{MORE}: 'torch.nn.modules.linear.Linear'")
def whole_module(folder: Path) -> Path:
    return written(folder, torch_saved(nn.Linear(2, 2)))


@outside(f"{MORE}: '__builtin__.bytearray'")
def bytes_without_end(folder: Path) -> Path:
    return written(folder, torch_saved({"state_dict": weights(), "x": Calling(bytearray, 10**11)}))


@outside("TorchScript, which is a program")
def torchscript(folder: Path) -> Path:
    return torchscript_archive(folder).rename(folder / "one.pt")


@outside("a tar archive of PyTorch before")
def tar_archive(folder: Path) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive_:
        entry = tarfile.TarInfo("pickle")
        data = pickle.dumps(Payload(folder))
        entry.size = len(data)
        archive_.addfile(entry, io.BytesIO(data))
    return written(folder, buffer.getvalue())


@outside("a zip archive with 0 data.pkl")
def arrays_of_numpy(folder: Path) -> Path:
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.array([Payload(folder)], dtype=object))
    return written(folder, buffer.getvalue())


@outside(r"no file of torch.save \(another format\)")
def program(folder: Path) -> Path:
    return written(folder, f"#!/bin/sh\ntouch {folder / 'executed'}\n".encode())


@outside(r"no file of torch.save \(another format\)")
def safetensors_by_another_name(folder: Path) -> Path:
    return written(folder, valid_bytes())


@outside("compressed entries")
def zip_bomb(folder: Path) -> Path:
    bomb = archive(pickle.dumps({}, protocol=2), zipfile.ZIP_DEFLATED, data0=bytes(2**28))
    return written(folder, bomb)


@outside("a pickle of 5,000,")
def pickle_of_megabytes(folder: Path) -> Path:
    return written(folder, archive(pickle.dumps({"x": "x" * 5_000_000}, protocol=2)))


@outside("more than 300,000 operations")
def lists_in_lists(folder: Path) -> Path:
    opened = pickle.MARK * 200_000 + b"l" * 200_000
    return written(folder, archive(pickle.PROTO + b"\x02" + opened + pickle.STOP))


@outside("holds no state dict")
def lists_that_double_forty_times(folder: Path) -> Path:
    doubling: list[Any] = []
    for _ in range(40):
        doubling = [doubling, doubling]
    return written(folder, archive(pickle.dumps({"state_dict": doubling}, protocol=2)))


@outside("fc.weight is float32 \\[1000000000\\]")
def tensor_of_stride_0(folder: Path) -> Path:
    return written(folder, changed(fc__weight=torch.zeros(1).expand(10**9)))


@outside(DAMAGED)
def old_storage_of_a_terabyte(folder: Path) -> Path:
    data = torch_saved({"fc.weight": torch.zeros(77)}, _use_new_zipfile_serialization=False)
    size = b"K" + bytes([77])  # BININT1 77, the number of elements, becomes LONG1 of 2^38.
    assert size in data
    return written(folder, data.replace(size, b"\x8a\x06" + (2**38).to_bytes(6, "little")))


@outside("a zip directory of 4,000,000,000 bytes")
def zip_directory_of_gigabytes(folder: Path) -> Path:
    data = bytearray(torch_saved(weights()))
    record = data.rfind(b"PK\x06\x06")
    data[record + 40 : record + 48] = (4_000_000_000).to_bytes(8, "little")
    return written(folder, bytes(data))


@outside(DAMAGED)
def truncated_archive(folder: Path) -> Path:
    data = torch_saved(weights())
    return written(folder, data[: len(data) // 2])


@outside(DAMAGED)
def archive_whose_middle_is_gone(folder: Path) -> Path:
    data = torch_saved(weights())
    return written(folder, data[:2000] + data[4000:])


@outside(DAMAGED)
def truncated_old_file(folder: Path) -> Path:
    data = torch_saved(weights(), _use_new_zipfile_serialization=False)
    return written(folder, data[: len(data) // 2])


@outside("larger than what is read")
def sparse_file_of_a_terabyte(folder: Path) -> Path:
    path = written(folder, torch_saved(weights()))
    os.truncate(path, 2**40)
    return path


@outside("larger than the weights of resnet8-w8")
def checkpoint_far_larger_than_its_network(folder: Path) -> Path:
    return written(folder, torch_saved({"model": weights(), "more": torch.zeros(30_000_000)}))


@outside("no regular file")
def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "one.pt")
    return folder / "one.pt"


@outside("its keys are")
def checkpoint_without_a_state_dict(folder: Path) -> Path:
    return written(folder, torch_saved({"model": "\x1b[2Jevil\n", "\x1b[2J\n" * 1000: 1}))


@outside("holds no state dict")
def empty_state_dict(folder: Path) -> Path:
    return written(folder, torch_saved({}))


@outside("not finite")
def weights_that_are_no_numbers(folder: Path) -> Path:
    return written(folder, changed(conv1__weight=tensor_of(float("nan"), "conv1.weight")))


@outside("not finite")
def halves_that_are_infinite(folder: Path) -> Path:
    return written(folder, changed(fc__bias=tensor_of(float("inf"), "fc.bias").half()))


@outside("outputs that are not finite")
def weights_so_large_that_outputs_are_infinite(folder: Path) -> Path:
    return written(folder, changed(conv1__weight=tensor_of(3e38, "conv1.weight")))


@outside("variances below 0")
def negative_variances(folder: Path) -> Path:
    return written(folder, changed(bn1__running_var=tensor_of(-1.0, "bn1.running_var")))


@outside("fc.weight is float64")
def double_weights(folder: Path) -> Path:
    return written(folder, changed(fc__weight=weights()["fc.weight"].double()))


@outside("sparse|holds more than tensors")
def sparse_weights(folder: Path) -> Path:
    return written(folder, changed(fc__weight=weights()["fc.weight"].to_sparse()))


@outside(r"unexpected '\.\./\.\./evil'")
def name_that_is_a_path(folder: Path) -> Path:
    return written(folder, torch_saved({**weights(), "../../evil": torch.zeros(1)}))


@outside("header of 1,000,000,000,000 bytes")
def bare_header_of_a_terabyte(folder: Path) -> Path:
    return written(folder, container({}, bytes(16), length=10**12), "one.safetensors")


@outside("cannot have the shape")
def bare_shape_that_overflows(folder: Path) -> Path:
    entry = {"dtype": "F32", "shape": [2**39, 2**39], "data_offsets": [0, 16]}
    return written(folder, container({"fc.weight": entry}, bytes(16)), "one.safetensors")


@outside("no safetensors file")
def bare_file_that_is_truncated(folder: Path) -> Path:
    return written(folder, valid_bytes()[:-100], "one.safetensors")


@outside("config.json: links out of its folder")
def folder_whose_configuration_links_out(folder: Path) -> Path:
    (folder / "net").mkdir()
    (folder / "net" / "config.json").symlink_to("/etc/passwd")
    return written(folder / "net", valid_bytes(), "model.safetensors").parent


@outside("config.json: no JSON")
def folder_whose_configuration_is_nested(folder: Path) -> Path:
    (folder / "net").mkdir()
    (folder / "net" / "config.json").write_text("[" * 150_000)
    return written(folder / "net", valid_bytes(), "model.safetensors").parent
