"""Sound safetensors files that hold what no network can use."""

from pathlib import Path

import torch
from safetensors.torch import save

from tests.hostile.making import case, container, hand_in, hand_in_tensors, tensor_of, valid_header, weights


@case("not finite")
def weights_that_are_no_numbers(folder: Path) -> Path:
    return hand_in_tensors(folder, conv1__weight=tensor_of(float("nan"), "conv1.weight"))


@case("not finite")
def infinite_weights(folder: Path) -> Path:
    return hand_in_tensors(folder, fc__bias=tensor_of(float("-inf"), "fc.bias"))


@case("outputs that are not finite")
def weights_so_large_that_outputs_are_infinite(folder: Path) -> Path:
    return hand_in_tensors(folder, conv1__weight=tensor_of(3e38, "conv1.weight"))


@case("variances below 0")
def negative_variances(folder: Path) -> Path:
    return hand_in_tensors(folder, bn1__running_var=tensor_of(-1.0, "bn1.running_var"))


@case("num_batches_tracked must be 0 to")
def batches_about_to_overflow(folder: Path) -> Path:
    return hand_in_tensors(folder, bn1__num_batches_tracked=torch.tensor(2**63 - 1))


@case("num_batches_tracked must be 0 to")
def fewer_than_no_batches(folder: Path) -> Path:
    return hand_in_tensors(folder, bn1__num_batches_tracked=torch.tensor(-(2**63)))


@case(r"unexpected '\.\./\.\./evil'")
def name_that_is_a_path(folder: Path) -> Path:
    return hand_in(folder, save({**weights(), "../../evil": torch.zeros(1)}))


@case("unexpected")
def name_of_half_a_megabyte(folder: Path) -> Path:
    header, data = valid_header()
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [len(data), len(data)]}
    return hand_in(folder, container({**header, "\x1b[2J\n" * 50_000: entry}, data))


@case("missing 'bn1.bias'")
def missing_tensor(folder: Path) -> Path:
    return hand_in(folder, save({name: one for name, one in weights().items() if name != "bn1.bias"}))


@case("missing 'conv1.weight', 'bn1.weight', 'bn1.bias' and 53 more")
def no_tensor(folder: Path) -> Path:
    return hand_in(folder, container({}, b""))


@case("fc.weight is C64")
def complex_weights(folder: Path) -> Path:
    return hand_in_tensors(folder, fc__weight=weights()["fc.weight"].to(torch.complex64))


@case("fc.weight is I32")
def integer_weights(folder: Path) -> Path:
    return hand_in_tensors(folder, fc__weight=weights()["fc.weight"].to(torch.int32))


@case("fc.weight is F64")
def double_weights(folder: Path) -> Path:
    return hand_in_tensors(folder, fc__weight=weights()["fc.weight"].double())


@case("fc.weight is BOOL")
def boolean_weights(folder: Path) -> Path:
    return hand_in_tensors(folder, fc__weight=weights()["fc.weight"] > 0)


@case("bn1.num_batches_tracked is F32")
def fractional_batches(folder: Path) -> Path:
    return hand_in_tensors(folder, bn1__num_batches_tracked=torch.tensor(0.5))


@case(r"fc.weight is F32 \[32, 4\]")
def transposed_weights(folder: Path) -> Path:
    return hand_in_tensors(folder, fc__weight=weights()["fc.weight"].T.contiguous())


@case(r"bn1.num_batches_tracked is I64 \[1\]")
def list_for_a_number(folder: Path) -> Path:
    return hand_in_tensors(folder, bn1__num_batches_tracked=torch.zeros(1, dtype=torch.int64))
