"""The reference of all configuration keys, made from the types: ``python -m orchestrator.documentation``."""

import dataclasses
import json
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from fusion.settings import Settings
from orchestrator.config import RunConfig

HEAD = """# Configuration

Every key of a YAML file, its default, and what it does. A file may start from a preset (`preset: digits`);
what it leaves out has the default below. On the command line a key is changed by `KEY=VALUE`:
`dfmf fuse run.yaml method.alpha=0.2`. `dfmf init` writes a file to start from;
`dfmf fuse RUN --dry-run` prints the complete configuration.

This page is made by `python -m orchestrator.documentation`; a test holds it against the code.
"""


def configuration_page() -> str:
    """The whole page as Markdown."""
    rows = [
        f"| `{key}` | `{default}` | {' '.join(text.split())} |" for key, default, text in _rows(RunConfig, "")
    ]
    return "\n".join([HEAD, "| key | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _rows(section: type, prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, hint, default, text in _fields(section):
        inner = _section_in(hint)
        if inner is None:
            yield f"{prefix}{name}", _shown(default), f"{text} {_allowed(hint)}".strip()
            continue
        if default is None:
            yield f"{prefix}{name}", "null", text
        if isinstance(inner, list):
            yield from _either(inner, f"{prefix}{name}.")
            continue
        many = get_origin(_without_none(hint)) is tuple
        yield from _rows(inner, f"{prefix}{name}{'[]' if many else ''}.")


def _either(sections: list[type[Settings]], prefix: str) -> Iterator[tuple[str, str, str]]:
    """The keys of several sections of which one is chosen by its `name`; the first one is the default."""
    names = [
        f"`{field.default}`" for one in sections for field in dataclasses.fields(one) if field.name == "name"
    ]
    who: dict[tuple[str, str, str], list[str]] = {}
    for name, section in zip(names, sections, strict=True):
        for row in _rows(section, prefix):
            who.setdefault(row, []).append(name)
    for (key, default, text), of in who.items():
        if key != f"{prefix}name":
            note = "" if of == names else f" Of {', '.join(of)}."
            yield key, default, text + note
        elif of == names[:1]:
            yield key, default, text.replace(f"One of {names[0]}.", f"One of {', '.join(names)}.")


def _fields(section: type) -> Iterator[tuple[str, Any, Any, str]]:
    hints = get_type_hints(section)
    if issubclass(section, BaseModel):
        for name, info in section.model_fields.items():
            yield name, hints[name], _default(info), info.description or ""
    elif issubclass(section, Settings):
        for field in dataclasses.fields(section):
            yield field.name, hints[field.name], field.default, field.metadata["doc"]


def _default(info: FieldInfo) -> Any:
    return "required" if info.default is PydanticUndefined else info.default


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(one for one in get_args(hint) if one is not type(None))
    return hint


def _section_in(hint: Any) -> Any:
    """The section that the hint names, or a list of those of which it allows one; None for a plain value."""
    inner = _without_none(hint)
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ()
    if len(choices) > 1 and all(isinstance(one, type) and issubclass(one, Settings) for one in choices):
        return list(choices)
    if get_origin(inner) is tuple:
        inner = get_args(inner)[0]
    return inner if isinstance(inner, type) and issubclass(inner, (BaseModel, Settings)) else None


def _allowed(hint: Any) -> str:
    inner = _without_none(hint)
    if get_origin(inner) is Literal:
        return "One of " + ", ".join(f"`{one}`" for one in get_args(inner)) + "."
    return ""


def _shown(value: Any) -> str:
    return value if value == "required" else json.dumps(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    print(configuration_page(), end="")
