"""A study's search space: read from its file and checked against the configuration before anything starts."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fusion.method import Method
from fusion.methods import METHODS
from orchestrator.config import RunConfig
from orchestrator.errors import UserError, user_error
from orchestrator.loading import Tree, parse_config
from orchestrator.yaml_text import parse_yaml

Value: TypeAlias = bool | int | float | str
CaseValue: TypeAlias = Value | list[str] | None
"""What a case may also set: a list of texts, or nothing."""
Parameters: TypeAlias = dict[str, CaseValue]
"""Values of configuration keys, such as ``{"schedule.m_ga": 5}``."""

NOT_TO_BE_SWEPT = (
    *("name", "output", "seed", "engine", "checkpoint", "tracking", "audit"),
    *("data", "teachers"),  # Runs on other data, or of other teachers, cannot be compared.
)
MOST_LINES = 20
"""About points that the configuration does not take."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Parameter(_Part):
    """One key of the configuration that is varied."""

    label: str | None = Field(None, min_length=1, max_length=40)
    """What it is called in tables and plots; by default the key's last part."""
    grid: tuple[Value, ...] = Field(min_length=1)
    """Values of a grid search."""
    range: tuple[float, float] | None = None
    """Least and largest value of a random search and of Optuna; without it they choose from the grid."""
    scale: Literal["linear", "log"] = "linear"
    """How the range is drawn from and plotted."""

    @model_validator(mode="after")
    def _makes_sense(self) -> "Parameter":
        if len(set(self.grid)) < len(self.grid):
            raise ValueError("grid: holds a value twice")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"range: must rise (got {list(self.range)})")
        if self.range is not None and self.scale == "log" and self.range[0] <= 0:
            raise ValueError(f"range: must be above 0 on a log scale (got {list(self.range)})")
        if self.range is not None and is_whole(self) and not all(end.is_integer() for end in self.range):
            raise ValueError(
                f"range: must end in whole numbers as the grid has them, or the grid have 1.0 for 1 (got "
                f"{list(self.range)})"
            )
        return self


class Space(_Part):
    """What a study varies."""

    parameters: dict[str, Parameter] = Field({}, min_length=1)
    """By key of the configuration, such as method.alpha."""
    cases: dict[str, Parameters] = {}
    """By name: values that go together, by key. Each is run with all points of the grids."""
    seeds: Annotated[int, Field(ge=1, le=1000)] | tuple[Annotated[int, Field(ge=0)], ...] = 3
    """How many seeds, from the configuration's on, or which."""

    @model_validator(mode="after")
    def _varies_each_once(self) -> "Space":
        if not self.parameters and not self.cases:
            raise ValueError("parameters: name at least one, or cases")
        for name, values in self.cases.items():
            if twice := [key for key in values if key in self.parameters]:
                raise ValueError(f"cases.{name}.{twice[0]}: stands among the parameters too")
            if same := [other for other, its in self.cases.items() if other != name and its == values]:
                raise ValueError(f"cases.{same[0]}: has the same values as case {name}")
        if not isinstance(self.seeds, int) and len(set(self.seeds)) < max(1, len(self.seeds)):
            raise ValueError("seeds: must be at least one, each once")
        return self

    def labels(self) -> dict[str, str]:
        """What the keys of `parameters` are called."""
        return {key: one.label or key.rpartition(".")[2] for key, one in self.parameters.items()}

    def points(self) -> Iterator[Parameters]:
        """All combinations of the grids' values, with each case."""
        for case in self.cases.values() or [{}]:
            for values in itertools.product(*(one.grid for one in self.parameters.values())):
                yield {**case, **dict(zip(self.parameters, values, strict=True))}

    def case_of(self, parameters: Mapping[str, CaseValue]) -> str | None:
        """The case that a point is of: of those with its values the one that says most."""
        fitting = [name for name, values in self.cases.items() if values.items() <= parameters.items()]
        return max(fitting, key=lambda name: len(self.cases[name]), default=None)

    def seed_list(self, first: int) -> list[int]:
        """The seeds, the configuration's being `first`."""
        return (
            [first + index for index in range(self.seeds)]
            if isinstance(self.seeds, int)
            else list(self.seeds)
        )


def spaces() -> list[str]:
    """Names of the spaces that come with the program."""
    folder = resources.files("tune_spaces")
    return sorted(entry.name[: -len(".yaml")] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def space_comment(name: str) -> str:
    """The first line of what a space that comes with the program says of itself."""
    text = (resources.files("tune_spaces") / f"{name}.yaml").read_text(encoding="utf-8")
    return text.splitlines()[0].removeprefix("# ")


def load_space(name: str) -> Space:
    """The space called `name`, or the one in the file `name`.

    Raises:
        UserError: there is none, or what is wrong in it, a line for each mistake.
    """
    if name in spaces():
        text, source = (resources.files("tune_spaces") / f"{name}.yaml").read_text(encoding="utf-8"), name
    else:
        try:
            text, source = Path(name).read_text(encoding="utf-8"), name
        except (OSError, ValueError) as error:
            raise user_error(
                f"--space: no space {name!r} (known: {', '.join(spaces())}; or a YAML file)"
            ) from error
    tree = parse_yaml(text, f"space {source}")
    try:
        return Space.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise user_error(*(_line(f"space {source}", one) for one in error.errors())) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise user_error(f"space {source}: {error}") from error


def check_space(space: Space, base: Tree, source: str, *, combined: bool = True) -> None:
    """Every value and both ends of every range must be what the configuration takes, with each case, and, if
    they are to be `combined`, so must all points of the grids.

    Raises:
        UserError: a line for each that is not.
    """
    wrong: list[str] = []
    places = [(f"parameters.{key}", key) for key in space.parameters]
    places += [(f"cases.{name}.{key}", key) for name, values in space.cases.items() for key in values]
    for place, key in places:
        if key.partition(".")[0] in NOT_TO_BE_SWEPT:
            hint = " (seeds: says which seeds)" if key == "seed" else ""
            wrong.append(f"space {source}: {place}: is not for a sweep to vary{hint}")
    if wrong:
        raise user_error(*wrong)
    for name, values in space.cases.items():
        with_values(base, values, f"space {source}: cases.{name}")
    _check_points(base, _singly(space), source)
    if combined and len(space.parameters) > 1:
        _check_points(base, ((_words(space, values), values) for values in space.points()), source)
    for seed in space.seed_list(int(base["seed"])):
        with_values(base, {"seed": seed}, f"space {source}: seeds: {seed}")


def _singly(space: Space) -> Iterator[tuple[str, Parameters]]:
    """Each value and each end of a range alone, with each case; and how to call it."""
    for key, parameter in space.parameters.items():
        ends = [_like(value, parameter) for value in parameter.range or ()]
        for name, case in space.cases.items() or [("", {})]:
            for value in [*parameter.grid, *ends]:
                yield f"cases.{name}, {key}={value}" if name else f"{key}={value}", {**case, key: value}


def _words(space: Space, point: Parameters) -> str:
    case = space.case_of(point)
    return ", ".join(
        [*([f"cases.{case}"] if case else []), *(f"{key}={point[key]}" for key in space.parameters)]
    )


def _check_points(base: Tree, points: Iterable[tuple[str, Parameters]], source: str) -> None:
    """Raises UserError: which points the configuration does not take."""
    wrong: list[str] = []
    for words, values in points:
        try:
            with_values(base, values, f"space {source}: {words}")
        except UserError as error:
            wrong += [line for line in str(error).splitlines() if line not in wrong]
    if len(wrong) > MOST_LINES:
        wrong[MOST_LINES:] = [f"space {source}: and {len(wrong) - MOST_LINES} more like these"]
    if wrong:
        raise user_error(*wrong)


def with_values(base: Tree, values: Mapping[str, Any], source: str) -> RunConfig:
    """The configuration `base` with `values` for some of its keys.

    With another `method.name` its settings are that method's defaults, but for those that all methods
    have and that `base` changes.

    Raises:
        UserError: it is none; the lines start with `source`.
    """
    tree = json.loads(json.dumps(base))
    chosen = values.get("method.name")
    if chosen in METHODS and isinstance(tree.get("method"), dict) and tree["method"].get("name") != chosen:
        tree["method"] = _changed_in_common(tree["method"])
    for key, value in values.items():
        place = tree
        *sections, last = key.split(".")
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise user_error(f"{source}: {key}: the configuration has no such key")
        place[last] = value
    return parse_config(tree, source)


def _changed_in_common(settings: Tree) -> Tree:
    """Those of a method's settings that all methods have and that are not its defaults."""
    defaults = {field.name: field.default for field in dataclasses.fields(METHODS[settings["name"]])}
    common = [field.name for field in dataclasses.fields(Method)]
    return {key: settings[key] for key in common if key in settings and settings[key] != defaults[key]}


def is_whole(parameter: Parameter) -> bool:
    """Whether only whole numbers are drawn from its range."""
    return all(type(value) is int for value in parameter.grid)


def _like(value: float, parameter: Parameter) -> Value:
    return int(value) if is_whole(parameter) and value.is_integer() else value


def _line(source: str, problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"] if part not in ("int", "tuple[Annotated, ...]"))
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown key"
    return ": ".join(filter(None, (source, where, f"{message[:1].lower()}{message[1:]}")))
