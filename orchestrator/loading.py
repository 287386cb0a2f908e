"""From a YAML file, a preset and overrides to a `RunConfig`; every mistake becomes a line that names its
place."""

import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fusion.methods import METHODS
from fusion.settings import SettingsError
from orchestrator.config import RunConfig
from orchestrator.errors import user_error
from orchestrator.secrets import redact
from orchestrator.yaml_text import dump_yaml, parse_yaml

Tree = dict[str, Any]


def presets() -> list[str]:
    """Names of the configurations that come with the program."""
    folder = resources.files("orchestrator") / "presets"
    return sorted(entry.name[: -len(".yaml")] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def preset_text(name: str) -> str:
    """The YAML of a preset, with its comments."""
    return (resources.files("orchestrator") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")


def load_config(run: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration `run`, a YAML file or a preset's name, with ``key.key=value`` overrides applied last.

    A file's key `preset` names the preset that it changes.

    Raises:
        UserError: one line for each mistake, naming file (or command line) and key.
    """
    tree, source = _read(run)
    return overridden_config(tree, source, overrides)


def overridden_config(tree: Tree, source: str, overrides: Sequence[str]) -> RunConfig:
    """`parse_config` after the ``key.key=value`` overrides have been applied to `tree`."""
    from_command_line = [_override(tree, override) for override in overrides]
    return parse_config(tree, source, from_command_line)


def parse_config(tree: Mapping[str, Any], source: str, from_command_line: Iterable[str] = ()) -> RunConfig:
    """Check a configuration given as plain dictionaries; `source` is what error lines start with."""
    try:
        return RunConfig.model_validate_json(json.dumps(tree))
    except (TypeError, ValueError, RecursionError) as error:
        if not isinstance(error, ValidationError):
            raise user_error(f"{source}: {error}") from error
        lines = _explain(error, source, list(from_command_line))
        raise user_error(*lines) from error


def config_name(run: str) -> str:
    """What a run of this configuration is called when it names itself not."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", Path(run).stem).lstrip("._-")[:40] or "run"


def dump_config(config: RunConfig) -> str:
    """The complete configuration as YAML, without secrets; `orchestrator.secrets` says how it reads back."""
    return dump_yaml(redact(json.loads(config.model_dump_json())))


def _read(run: str) -> tuple[Tree, str]:
    if run in presets() and not Path(run).is_file():
        return _parse(preset_text(run), f"preset {run}"), f"preset {run}"
    try:
        text = Path(run).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = "no UTF-8 text" if isinstance(error, UnicodeDecodeError) else "no path"
        reason = getattr(error, "strerror", reason)
        known = ", ".join(presets())
        raise user_error(f"{run}: {reason}; give a YAML file or a preset ({known})") from error
    tree = _parse(text, run)
    if "preset" not in tree:
        return tree, run
    base = tree.pop("preset")
    if base not in presets():
        raise user_error(f"{run}: preset: unknown {base!r}{_suggest(str(base), presets())}")
    return _merged(_parse(preset_text(base), f"preset {base}"), tree), run


def _parse(text: str, source: str) -> Tree:
    tree = parse_yaml(text, source)
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise user_error(f"{source}: must be a mapping of keys to values")
    return tree


def _merged(base: Tree, changes: Tree) -> Tree:
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _override(tree: Tree, override: str) -> str:
    """Set ``a.b=value`` in the tree; a number in the path counts in a list. Returns the path."""
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise user_error(f"{override}: an override is KEY=VALUE, such as method.alpha=0.2")
    value = parse_yaml(text, override)
    place: Any = tree
    for key in keys[:-1]:
        if isinstance(place, list):
            place = place[_position(place, key, override)]
        else:
            if place.get(key) is None:
                place[key] = {}
            place = place[key]
        if not isinstance(place, (dict, list)):
            raise user_error(f"{override}: {key} holds a value, not a section")
    if isinstance(place, list):
        place[_position(place, keys[-1], override)] = value
    else:
        place[keys[-1]] = value
    return path


def _position(place: list[Any], key: str, override: str) -> int:
    if not key.isdecimal() or int(key) >= len(place):
        raise user_error(f"{override}: {key} is no position in a list of {len(place)}")
    return int(key)


def _explain(error: ValidationError, source: str, from_command_line: list[str]) -> list[str]:
    lines = []
    for problem in error.errors():
        location, method = _place(problem["loc"])
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, SettingsError):
            found = [
                (f"{location}.{name}", f"{wrong} (got {value})") for name, wrong, value in cause.problems
            ]
        elif problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            siblings = _known_keys(problem["loc"][:-1]) if method is None else _settings_of(method)
            of = f" of method {method!r}" if method else ""
            found = [(location, f"unknown key{_suggest(str(problem['loc'][-1]), siblings)}{of}")]
        elif problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
            name = problem["input"]["name"]
            found = [(f"{location}.name", f"unknown method {name!r}{_suggest(str(name), list(METHODS))}")]
        elif isinstance(problem["input"], (dict, type(None))) and ": " in str(cause):
            key, _, message = str(cause).partition(": ")  # Of a whole section: it names the key itself.
            found = [(".".join(filter(None, (location, key))), message)]
        else:
            message = problem["msg"].removeprefix("Value error, ")
            message = message[:1].lower() + message[1:].replace("Input", "input")
            found = [(location, f"{message.removeprefix('input ')} (got {_shown(problem['input'])})")]
        for place, message in found:
            overridden = any(place == key or place.startswith(f"{key}.") for key in from_command_line)
            lines.append(f"{'command line' if overridden else source}: {place}: {message}")
    return lines


def _place(location: tuple[int | str, ...]) -> tuple[str, str | None]:
    """The key in words; and, of one in `method`, which method it was taken for (as pydantic says before
    it)."""
    method = location[1] if location[0:1] == ("method",) and len(location) > 1 else None
    parts = location if method is None else (location[0], *location[2:])
    return ".".join(str(part) for part in parts), None if method is None else str(method)


def _settings_of(method: str) -> list[str]:
    return [field.name for field in dataclasses.fields(METHODS[method])]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _suggest(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return (f"; did you mean {close[0]!r}?" if close else "") + f" (known: {', '.join(known)})"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys of the section at `location`, from the configuration's schema."""
    schema = RunConfig.model_json_schema()
    node = schema
    for part in location:
        node = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part, {})
        options = [node, *node.get("anyOf", []), *node.get("allOf", [])]
        reference = next((option["$ref"] for option in options if "$ref" in option), None)
        if reference is not None:
            node = schema["$defs"][reference.rsplit("/", 1)[-1]]
        else:
            node = next((option for option in options if "items" in option or "properties" in option), node)
    return list(node.get("properties", {}))
