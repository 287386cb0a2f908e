"""Which table a person asks for, and which of its fusions."""

import dataclasses
from collections.abc import Iterable

from orchestrator.errors import user_error
from orchestrator.reproducing.layout import Line, Scale


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be run."""

    table: str
    scale: Scale = "digits"
    seeds: int = 3
    rows: tuple[str, ...] | None = None
    """Only these; None: all that there are. So of columns and parts."""
    columns: tuple[str, ...] | None = None
    parts: tuple[str, ...] | None = None
    overrides: tuple[str, ...] = ()
    concurrent: int | None = None

    @property
    def command(self) -> list[str]:
        """That gives the same table, in any folder."""
        options = ["--scale", self.scale, "--seeds", str(self.seeds)]
        for option, keys in (("--rows", self.rows), ("--columns", self.columns), ("--parts", self.parts)):
            options += [option, ",".join(keys)] if keys else []
        return ["dfmf", "reproduce", self.table, *options, *self.overrides]

    def some_rows(self, rows: Iterable[Line]) -> list[Line]:
        """Those of a table that are asked for."""
        return [one for one in rows if self.rows is None or one.key in self.rows]

    def some_columns(self, columns: Iterable[Line]) -> list[Line]:
        """As `some_rows`."""
        return [one for one in columns if self.columns is None or one.key in self.columns]


def check_keys(option: str, keys: Iterable[str] | None, known: Iterable[str]) -> None:
    """Raises UserError: `keys` has one that is not known."""
    names = list(dict.fromkeys(known))
    if unknown := [key for key in keys or () if key not in names]:
        raise user_error(f"{option}: there is no {unknown[0]!r} (known: {', '.join(names)})")
