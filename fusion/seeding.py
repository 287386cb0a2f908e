"""Random streams: every role of every party draws from its own, named by the run's seed and a path.

A stream is a function of (seed, path) alone, so a restored party redraws what it drew, and no party's draws
depend on another's.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, *path: str | int) -> int:
    """A 63-bit seed for the stream at `path`, e.g. ``derive_seed(0, "noise", party, iteration)``."""
    digest = hashlib.sha256(repr((seed, *path)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def random_stream(device: torch.device, seed: int, *path: str | int) -> torch.Generator:
    """A generator on `device` positioned at the start of the stream at `path`."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *path))


@contextmanager
def seeded_initialisation(seed: int, *path: str | int) -> Iterator[None]:
    """Within the block, modules draw their initial weights from the stream at `path`.

    PyTorch initialises from the global CPU stream; it is put back as it was when the block ends.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, *path))
        yield
