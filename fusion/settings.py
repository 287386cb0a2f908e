"""Settings as frozen dataclasses whose fields carry their range and their explanation, in one place."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar


class SettingsError(ValueError):
    """Values out of range: `problems` holds (field, what is wrong, value) for each of them."""

    def __init__(self, problems: list[tuple[str, str, object]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{name}: {wrong} (got {value!r})" for name, wrong, value in problems))


def setting(
    default: Any,
    doc: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """A dataclass field with a default, an explanation and a range that `Settings` checks."""
    bounds = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    metadata = {"doc": doc, **{name: bound for name, bound in bounds.items() if bound is not None}}
    return dataclasses.field(default=default, metadata=metadata)


_BOUNDS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "at_least": ("at least", lambda value, bound: value >= bound),
    "above": ("above", lambda value, bound: value > bound),
    "at_most": ("at most", lambda value, bound: value <= bound),
    "below": ("below", lambda value, bound: value < bound),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings: checks every field's range at construction and reports all problems at once."""

    # Read by pydantic when a configuration file is loaded: unknown keys and loose types are errors.
    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        problems = [
            (field.name, wrong, getattr(self, field.name))
            for field in dataclasses.fields(self)
            for wrong in _violations(getattr(self, field.name), field.metadata)
        ]
        if problems:
            raise SettingsError(problems)


def _violations(value: object, metadata: Any) -> list[str]:
    numbers = [
        number
        for number in (value if isinstance(value, (tuple, list)) else (value,))
        if isinstance(number, (int, float)) and not isinstance(number, bool)
    ]
    if any(not math.isfinite(number) for number in numbers):
        return ["must be finite"]
    return [
        f"must be {words} {metadata[name]:g}"
        for name, (words, holds) in _BOUNDS.items()
        if name in metadata and not all(holds(number, metadata[name]) for number in numbers)
    ]
