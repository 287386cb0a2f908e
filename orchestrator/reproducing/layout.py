"""What a table is made of: rows, columns and cells, and the studies that fill it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from orchestrator.config import RunConfig
from orchestrator.sweep.space import Parameters

Scale: TypeAlias = Literal["digits", "fashion-mnist", "cifar", "paper"]
Numbers: TypeAlias = Mapping[tuple[str, str], str]
"""Published numbers as they are printed, by row and column."""


@dataclasses.dataclass(frozen=True)
class Line:
    """A row or a column: what its fusions have in the configuration."""

    key: str
    values: Parameters


Lines: TypeAlias = Callable[[RunConfig], Sequence[Line]]
"""The rows or columns that a configuration can have. Raises UserError where it can have none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A study of its own: one data set, one number of parties."""

    name: str
    preset: str
    changes: Sequence[str]
    """Of the preset, as on a command line."""
    source: str
    """What the published numbers are of."""
    published: Numbers
    distances: Numbers | None = None
    """Published distances of transfer sets; None: the table has none."""
    rows: Mapping[str, Parameters] = dataclasses.field(default_factory=dict)
    """By row: what its fusions have that those of the other rows have not."""
    differs: str = ""
    """What the paper has otherwise although it should be the same here."""
    note: str = ""
    """What else a reader of the written table should know."""


def merged(row: Line, column: Line) -> Parameters | None:
    """What the fusions of a cell have in the configuration: all of its row and of its column."""
    return {**row.values, **column.values}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a paper."""

    title: str
    parts: Callable[[Scale], list[Part]]
    rows: Lines
    columns: Lines
    cell: Callable[[Line, Line], Parameters | None] = merged
    """By row and column; None: nothing can stand there."""
    fitted: Callable[[Part, RunConfig], RunConfig] = lambda _, config: config
    """A part's configuration, without those of a person's overrides that are for another part."""
    note: Callable[[RunConfig], str] = lambda _: ""
    """What a reader should know, given the configuration."""


def fixed(*lines: Line) -> Lines:
    """The same lines whatever the configuration."""
    return lambda _: lines


def in_cells(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Numbers:
    """A printed table: each row's numbers in the order of the columns."""
    return {
        (row, column): number
        for row, numbers in rows.items()
        for column, number in zip(columns, numbers, strict=True)
    }
