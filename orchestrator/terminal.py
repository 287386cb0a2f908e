"""How every command writes: plain words, whatever stands in them."""

from typing import IO

from rich.console import Console


def terminal(file: IO[str] | None = None, width: int | None = None) -> Console:
    """Standard output, or `file`. Brackets in paths and in names of parties and classes are no markup."""
    return Console(file=file, width=width, markup=False, highlight=False)
