"""Reading YAML as people expect it, with every mistake as one line that names its place; and writing it."""

import re
from typing import Any

import yaml

from orchestrator.errors import user_error


class _Loader(yaml.SafeLoader):
    """YAML 1.2 where 1.1 surprises: 1e-3 is a number, `on`, `no`, 1:30 and dates are words, a repeated key
    is an error.

    No tags: PyYAML's own fail in many ways when the value is not what the tag says.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(
                problem=f"tag {event.tag!r} is not allowed", problem_mark=event.start_mark
            )
        if "\0" in (getattr(event, "value", None) or ""):
            raise yaml.MarkedYAMLError(problem="character 0x0 is in a text", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.rpartition(":")[2] not in ("bool", "float", "int", "timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]{0,30})$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf)$|^\.(?:nan|NaN)$"
    ),
    list("-+0123456789."),
)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that the loader above, or one of YAML 1.1, would take for something else."""


_Dumper.yaml_implicit_resolvers = {
    first: [
        *_Loader.yaml_implicit_resolvers.get(first, []),
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {**_Loader.yaml_implicit_resolvers, **yaml.SafeDumper.yaml_implicit_resolvers}
}


def dump_yaml(tree: Any) -> str:
    """Mappings, lists and values as a text from which `parse_yaml` makes the same."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, width=110)
    return text


def parse_yaml(text: str, source: str) -> Any:
    """The value of a YAML text; `source` is what an error's line starts with.

    Raises:
        UserError: it is no valid YAML.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.reader.ReaderError as error:
        raise user_error(
            f"{source}: no valid YAML: character {error.character:#x} at {error.position}"
        ) from error
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise user_error(f"{source}{where}: no valid YAML: {error.problem}") from error
    except RecursionError as error:
        raise user_error(f"{source}: no valid YAML: nested too deeply") from error
