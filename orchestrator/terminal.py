"""How every command writes: plain words, whatever stands in them."""

import os
from typing import IO

from rich.console import Console

LOG_WIDTH = 160
"""Columns of what goes into a file or a pipe, where no window is too narrow for a table."""


def terminal(file: IO[str] | None = None, width: int | None = None) -> Console:
    """Standard output, or `file`. Brackets in paths and in names of parties and classes are no markup."""
    console = Console(file=file, width=width, markup=False, highlight=False)
    if width is None and not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = LOG_WIDTH
    return console
