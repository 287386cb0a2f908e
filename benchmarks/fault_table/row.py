"""One row of the table of faults."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A fault, what it was done to, and what came of it."""

    name: str
    injected: int
    """How often."""
    ended: int
    """Runs that came to their end, of as many as were hit (after `--resume`, where a driver was)."""
    runs: int = 1
    bit_equal: bool | None
    """Whether the result has the bits of the undisturbed run; None where it cannot have."""
    detect_s: float | None = None
    """From the fault until the run says so; None where nobody is left to say it, or nothing to say."""
    recover_s: float | None = None
    """From the fault, or from the start of `--resume`, until there is progress that there had not been."""
    repeated: int | None = None
    """Iterations that were done again."""
    lost: int = 0
    """Union batches that are missing from the result."""
    note: str = ""


Case = tuple[str, Callable[[], Row]]
"""A fault's name and what does it."""
