"""Files that are something else: pickles with a payload, archives, bombs, other formats."""

import gzip
import io
import pickle
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.hostile.making import Payload, case, hand_in, valid_bytes

NO_HEADER = "no safetensors file"


class Doubling(nn.Module):
    """Something for TorchScript to compile."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def torch_saved(value: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


@case(NO_HEADER)
def pickle_in_a_zip_of_torch(folder: Path) -> Path:
    return hand_in(folder, torch_saved({"fc.weight": Payload(folder)}))


@case(NO_HEADER)
def pickle_in_the_old_format_of_torch(folder: Path) -> Path:
    return hand_in(folder, torch_saved(Payload(folder), _use_new_zipfile_serialization=False))


@case(NO_HEADER)
def pickle_of_protocol_0(folder: Path) -> Path:
    return hand_in(folder, pickle.dumps(Payload(folder), protocol=0))


@case(NO_HEADER)
def pickle_of_protocol_2(folder: Path) -> Path:
    return hand_in(folder, pickle.dumps(Payload(folder), protocol=2))


@case(NO_HEADER)
def pickle_of_protocol_4(folder: Path) -> Path:
    return hand_in(folder, pickle.dumps(Payload(folder), protocol=4))


@case(NO_HEADER)
def pickle_of_numpy(folder: Path) -> Path:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload(folder)], dtype=object), allow_pickle=True)
    return hand_in(folder, buffer.getvalue())


@case(NO_HEADER)
def pickle_as_joblib_compresses_it(folder: Path) -> Path:
    return hand_in(folder, zlib.compress(pickle.dumps(Payload(folder), protocol=4)))


@case(NO_HEADER)
def pickle_in_an_archive_of_numpy(folder: Path) -> Path:
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.array([Payload(folder)], dtype=object))
    return hand_in(folder, buffer.getvalue())


@case(NO_HEADER)
def torchscript_archive(folder: Path) -> Path:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That it is deprecated.
        torch.jit.save(torch.jit.script(Doubling()), buffer)
    return hand_in(folder, buffer.getvalue())


@case(NO_HEADER)
def checkpoint_folder_with_a_pickle_as_metadata(folder: Path) -> Path:
    path = hand_in(folder, pickle.dumps(Payload(folder)))
    (folder / ".metadata").write_bytes(pickle.dumps(Payload(folder)))
    return path


@case("one.safetensors: Is a directory")
def mlflow_model_with_code(folder: Path) -> Path:
    path = hand_in(folder, valid_bytes())
    path.unlink()
    (path / "code").mkdir(parents=True)
    (path / "code" / "evil.py").write_text(f"open({str(folder / 'executed')!r}, 'w').close()\n")
    (path / "MLmodel").write_text("flavors: {python_function: {loader_module: evil, code: code}}\n")
    (path / "python_model.pkl").write_bytes(pickle.dumps(Payload(folder)))
    return path


@case(NO_HEADER)
def zip_bomb(folder: Path) -> Path:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("data/0", "w") as entry:
        for _ in range(256):
            entry.write(bytes(2**20))
    return hand_in(folder, buffer.getvalue())


@case(NO_HEADER)
def tensor_of_stride_0(folder: Path) -> Path:
    return hand_in(folder, torch_saved({"fc.weight": torch.zeros(1).expand(10**9)}))


@case(NO_HEADER)
def lists_in_lists(folder: Path) -> Path:
    opened = pickle.MARK * 200_000 + b"l" * 200_000
    return hand_in(folder, pickle.PROTO + b"\x02" + opened + pickle.STOP)


@case(NO_HEADER)
def onnx_file(folder: Path) -> Path:
    external = b"\x6a\x14\n\x08location\x12\x08../../../etc/passwd"
    return hand_in(folder, b"\x08\x0a\x12\x07pytorch:\x80" + external)


@case(NO_HEADER)
def hdf5_file(folder: Path) -> Path:
    return hand_in(folder, b"\x89HDF\r\n\x1a\n" + bytes(2048))


@case(NO_HEADER)
def gzip_of_safetensors(folder: Path) -> Path:
    return hand_in(folder, gzip.compress(valid_bytes()[:5000]))


@case(NO_HEADER)
def empty_file(folder: Path) -> Path:
    return hand_in(folder, b"")


@case(NO_HEADER)
def program(folder: Path) -> Path:
    return hand_in(folder, f"#!/bin/sh\ntouch {folder / 'executed'}\n".encode())
