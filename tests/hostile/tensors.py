"""Safetensors files that are damaged, lie, or hold what no network can use."""

import json
import os
from pathlib import Path

from tests.hostile.making import (
    case,
    container,
    hand_in,
    valid,
    valid_bytes,
    valid_header,
)

SCHEMA = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


def changed_header(folder: Path, name: str, **changes: object) -> Path:
    """The valid file whose header says something else of one tensor."""
    header, data = valid_header()
    header[name] |= changes
    return hand_in(folder, container(header, data))


@case("truncated or changed")
def truncated_data(folder: Path) -> Path:
    path = valid(folder)
    path.write_bytes(valid_bytes()[:-100])
    return path


@case("no safetensors file")
def truncated_data_with_its_own_hash(folder: Path) -> Path:
    return hand_in(folder, valid_bytes()[:-100])


@case("header")
def truncated_header(folder: Path) -> Path:
    return hand_in(folder, valid_bytes()[:200])


@case("header")
def five_bytes(folder: Path) -> Path:
    return hand_in(folder, bytes(5))


@case("header")
def header_of_a_terabyte(folder: Path) -> Path:
    return hand_in(folder, container({"a": SCHEMA}, bytes(16), length=10**12))


@case("header")
def header_of_negative_length(folder: Path) -> Path:
    return hand_in(folder, container({"a": SCHEMA}, bytes(16), length=2**64 - 1))


@case("header")
def header_longer_than_the_file(folder: Path) -> Path:
    return hand_in(folder, container({"a": SCHEMA}, bytes(16), length=1000))


@case("header")
def header_of_length_0(folder: Path) -> Path:
    return hand_in(folder, container(b"", valid_header()[1]))


@case("no safetensors file")
def overlapping_tensors(folder: Path) -> Path:
    header, _ = valid_header()
    return changed_header(folder, "bn1.bias", data_offsets=header["bn1.weight"]["data_offsets"])


@case("no safetensors file")
def hole_between_tensors(folder: Path) -> Path:
    header, data = valid_header()
    for entry in header.values():
        entry["data_offsets"] = [one + 64 * (one > 0) for one in entry["data_offsets"]]
    last = max(header.values(), key=lambda entry: entry["data_offsets"][1])
    assert last["data_offsets"][1] == len(data) + 64
    return hand_in(folder, container(header, data + bytes(64)))


@case("no safetensors file")
def offsets_out_of_bounds(folder: Path) -> Path:
    return changed_header(folder, "fc.weight", data_offsets=[10**15, 10**15 + 512])


@case("no safetensors file")
def negative_offsets(folder: Path) -> Path:
    return changed_header(folder, "fc.weight", data_offsets=[-512, 0])


@case("no safetensors file")
def offsets_that_are_no_numbers(folder: Path) -> Path:
    return changed_header(folder, "fc.weight", data_offsets=[{"a": 1}, "b"])


@case(r"fc.weight is F32 \[9223372036854775807, 4\]")
def shape_whose_product_overflows(folder: Path) -> Path:
    return changed_header(folder, "fc.weight", shape=[2**63 - 1, 4])


@case(r"fc.weight is F32 \[-4, 32\]")
def negative_shape(folder: Path) -> Path:
    return changed_header(folder, "fc.weight", shape=[-4, 32])


@case("no safetensors file")
def shape_of_floats(folder: Path) -> Path:
    return changed_header(folder, "fc.weight", shape=[4.0, 32.0])


@case(r"fc.weight is F32 \[1000000000, 32\]")
def huge_shape_with_little_data(folder: Path) -> Path:
    return changed_header(folder, "fc.weight", shape=[10**9, 32])


@case("fc.weight is F32 '10{20,}")
def shape_of_a_huge_number(folder: Path) -> Path:
    return changed_header(folder, "fc.weight", shape="1" + "0" * 5000)


@case("stands twice")
def key_twice(folder: Path) -> Path:
    header, data = valid_header()
    twice = json.dumps(header)[:-1] + ', "fc.bias": ' + json.dumps(header["fc.bias"]) + "}"
    return hand_in(folder, container(twice.encode(), data))


@case("no safetensors file")
def trailing_bytes(folder: Path) -> Path:
    return hand_in(folder, valid_bytes() + b"MZ this program")


@case("fc.weight is F99")
def unknown_dtype(folder: Path) -> Path:
    return changed_header(folder, "fc.weight", dtype="F99")


@case(r"fc.weight is '\\x1b\[2J")
def dtype_with_escape_codes(folder: Path) -> Path:
    return changed_header(folder, "fc.weight", dtype="\x1b[2J\n\u202e" * 100)


@case("larger than the weights of resnet8-w8 with 4 classes can be")
def a_million_empty_tensors(folder: Path) -> Path:
    entry = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = "{" + ",".join(entry % index for index in range(1_000_000)) + "}"
    return hand_in(folder, container(header.encode(), b""))


@case("unexpected")
def fifteen_thousand_empty_tensors(folder: Path) -> Path:
    entry = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = "{" + ",".join(entry % index for index in range(15_000)) + "}"
    return hand_in(folder, container(header.encode(), b""))


@case("header")
def header_that_is_no_text(folder: Path) -> Path:
    return hand_in(folder, container(b"{\xff\xfe\x80}", b""))


@case("header")
def header_that_is_no_json(folder: Path) -> Path:
    return hand_in(folder, container(b"{'fc.weight': Payload()}", b""))


@case("header")
def header_that_is_a_list(folder: Path) -> Path:
    return hand_in(folder, container([["fc.weight"]], b""))


@case("nested")
def header_nested_deeply(folder: Path) -> Path:
    return hand_in(folder, container(b'{"a":' + b"[" * 90_000 + b"]" * 90_000 + b"}", b""))


@case("header")
def header_with_a_number_of_a_million_digits(folder: Path) -> Path:
    return hand_in(folder, container(b'{"a":' + b"9" * 90_000 + b"}", b""))


@case("missing")
def tensors_described_by_numbers(folder: Path) -> Path:
    return hand_in(folder, container({"fc.weight": 7, "__metadata__": {"format": "pt"}}, b""))


@case("fc.weight")
def tensor_described_by_a_number(folder: Path) -> Path:
    header, data = valid_header()
    return hand_in(folder, container({**header, "fc.weight": 7}, data))


@case("no safetensors file")
def metadata_that_is_no_text(folder: Path) -> Path:
    header, data = valid_header()
    return hand_in(folder, container({**header, "__metadata__": {"a": [1]}}, data))


@case("larger than the weights of resnet8-w8 with 4 classes can be")
def sparse_file_of_a_terabyte(folder: Path) -> Path:
    path = valid(folder)
    os.truncate(path, 2**40)
    return path
