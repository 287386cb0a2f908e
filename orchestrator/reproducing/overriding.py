"""What a person's overrides are for: all rows of a table, or those of one method."""

import dataclasses
from collections.abc import Iterable, Iterator, Set
from typing import Any

from fusion.method import Method
from orchestrator.config import RunConfig
from orchestrator.errors import user_error
from orchestrator.reproducing.layout import Line, Part
from orchestrator.yaml_text import parse_yaml

NAME = "method.name"
IN_COMMON = frozenset(f"method.{field.name}" for field in dataclasses.fields(Method)) - {NAME}
"""What all methods have."""


def keys_of(overrides: Iterable[str]) -> set[str]:
    """The keys that overrides name; of a whole section those in it."""
    split = (override.partition("=") for override in overrides)
    return {key for path, _, text in split for key in _leaves(path, parse_yaml(text, path))}


def overridden(row: Line, part: Part, config: RunConfig, keys: Set[str]) -> Line:
    """`row` with what `part` has for it, unless it is among the `keys` that a person named in `config`; and
    with those of these keys that all methods have, also where they say what the row has not by default."""
    values = {key: value for key, value in part.rows.get(row.key, {}).items() if key not in keys}
    if not _of_the_tables_method(row, config):
        values |= {key: getattr(config.method, _setting(key)) for key in sorted(IN_COMMON & keys)}
    return Line(row.key, {**row.values, **values})


def check_reach(keys: Set[str], rows: Iterable[tuple[Line, RunConfig]]) -> None:
    """Of each setting of a method among the `keys` there must be a row to be run that it is for.

    Raises:
        UserError: a line for each that is for none.
    """
    rows = list(rows)
    own = sorted(key for key in keys - IN_COMMON - {NAME} if key.startswith("method."))
    lost = [
        key
        for key in own
        if not any(key in row.values or _of_the_tables_method(row, config) for row, config in rows)
    ]
    if lost:
        asked = ", ".join(dict.fromkeys(row.key for row, _ in rows))
        why = f"is for rows of method {rows[0][1].method.name!r}, and none is asked for ({asked})"
        raise user_error(*(f"{key}: {why}" for key in lost))


def _of_the_tables_method(row: Line, config: RunConfig) -> bool:
    return row.values.get(NAME, config.method.name) == config.method.name


def _setting(key: str) -> str:
    return key.removeprefix("method.")


def _leaves(path: str, value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        yield path
        return
    for key, inner in value.items():
        yield from _leaves(f"{path}.{key}", inner)
