"""How the arithmetic is done: number format, memory layout, compilation. Part of what decides a result's
bits."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn

from fusion.settings import Settings, setting

COMPILATIONS = 64
"""Of one function: for each architecture with and without gradients for weights and images, and for other
batch sizes. PyTorch allows 8."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compute(Settings):
    """Ways to spend less time on the same mathematics (docs/performance.md has the measurements)."""

    precision: Literal["float32", "bfloat16"] = setting(
        "float32",
        "Format of convolutions and matrix products; 'bfloat16' is autocast: weights, statistics, losses and "
        "images stay float32. For GPUs with bfloat16 units.",
    )
    tf32: bool | None = setting(
        None,
        "Whether float32 convolutions and matrix products round to TF32, on GPUs that have it; empty: as "
        "PyTorch has it by itself, convolutions alone.",
    )
    memory_format: Literal["channels_last", "contiguous"] = setting(
        "channels_last", "Layout of images and weights in memory."
    )
    compile: bool = setting(
        False,
        "Compile the networks with torch.compile: minutes at the start, meant for GPUs; on a CPU it needs a "
        "C++ compiler.",
    )

    def place(self, module: nn.Module, device: torch.device) -> nn.Module:
        """Move `module` to `device` in the layout asked for, compiled in place if that is asked for.

        How a GPU rounds is a matter of the whole process: as it was asked for here last.
        """
        if device.type == "cuda":
            _round_to_tf32(matmul=self.tf32 is True, convolution=self.tf32 is not False)
        layouts = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
        module.to(device=device, memory_format=layouts[self.memory_format])  # type: ignore[call-overload]
        if self.compile:
            from torch._dynamo import config  # Seconds to import.

            # All classifiers share one `forward`, and what has been compiled too often goes on uncompiled.
            # Holds for the calling thread, in which the module will compute.
            config.recompile_limit = max(config.recompile_limit, COMPILATIONS)
            module.compile()
        return module

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """Within the block networks compute in `precision`."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


@contextlib.contextmanager
def own_rounding(device: torch.device) -> Iterator[None]:
    """What `place` does to this process's rounding on a GPU ends with the block."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        _round_to_tf32(*before)


def _round_to_tf32(matmul: bool, convolution: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = matmul
    torch.backends.cudnn.allow_tf32 = convolution
