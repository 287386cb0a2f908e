"""Random configurations: what comes out is a valid one or a `UserError` with one line for each problem.

`FUZZ=20` in the environment multiplies the number of inputs; they are the same in every run.
"""

import json
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.loading import dump_config, load_config, parse_config, preset_text
from tests.hostile.fuzzing import fuzz, json_values, outcome
from tests.tiny import tiny_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def keys_of(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """All dotted keys."""
    return [
        found
        for key, value in tree.items()
        for found in [prefix + key, *(keys_of(value, f"{prefix}{key}.") if isinstance(value, dict) else [])]
    ]


KEYS = [*keys_of(yaml.safe_load(dump_config(load_config("digits")))), "teachers.0", "weights.1", "extra"]
scalars = json_values | st.sampled_from([-1, 0, 1, 2, 1e-3, "on", "resnet8", "../x", ["a.safetensors"]])


@fuzz(500)
@given(changes=st.dictionaries(st.sampled_from(KEYS), scalars, min_size=1, max_size=4))
def test_configurations_that_say_something_else(changes: dict[str, Any]) -> None:
    tree = tiny_run()
    for dotted, value in changes.items():
        place: Any = tree
        *sections, last = dotted.split(".")
        for key in sections:
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
        place[last] = value
    assert isinstance(outcome(lambda: parse_config(tree, "here"), UserError), (RunConfig, list))


yaml_texts = st.text(
    st.sampled_from(string.printable + "é\u202e\x1b\x00\ufeff") | st.characters(), max_size=40
)
pieces = st.sampled_from(
    [
        *(
            "? ",
            "? [a]\n: 1\n",
            "&a ",
            "*a",
            "<<: ",
            "<<: *a\n",
            "!!python/object/apply:os.system [id]",
            "- ",
        ),
        *(
            "!!binary aa",
            "!!set {a}",
            "!!timestamp x",
            "2020-99-99",
            "0b",
            "0x",
            "0b2",
            "09",
            "1:99",
            "1e999",
        ),
        *(
            "[" * 2000,
            "{a: " * 500,
            "|\n  x",
            "\t",
            "---\n",
            "...\n",
            "%YAML 9.9\n",
            "9" * 5000,
            '"\\ud800"',
            "!x",
        ),
        *(
            "seed: ",
            "teachers: ",
            "method: {",
            "}",
            "]",
            "null",
            "~",
            "preset: digits\n",
            "preset: [1]\n",
            "\n",
        ),
    ]
)


@fuzz(500)
@given(
    parts=st.lists(pieces | yaml_texts, min_size=1, max_size=5),
    at=st.integers(0, 3000),
    on_top=st.booleans(),
)
def test_yaml_of_any_kind(folder: Path, parts: list[str], at: int, on_top: bool) -> None:
    text = preset_text("digits") if on_top else ""
    at = at % (len(text) + 1)
    path = folder / "run.yaml"
    path.write_bytes((text[:at] + "".join(parts) + text[at:]).encode("utf-8", "surrogatepass"))
    assert isinstance(outcome(lambda: load_config(str(path)), UserError), (RunConfig, list))


@fuzz(500)
@given(
    overrides=st.lists(
        st.builds(
            "{}{}{}".format,
            st.sampled_from(KEYS) | st.lists(st.sampled_from(KEYS), max_size=3).map(".".join) | yaml_texts,
            st.sampled_from(["=", "=", "=", "", ".=", "==", ".x=", ".0="]),
            pieces | yaml_texts | json_values.map(json.dumps),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_overrides_of_any_kind(overrides: list[str]) -> None:
    assert isinstance(outcome(lambda: load_config("digits", overrides), UserError), (RunConfig, list))


@fuzz(200)
@given(name=yaml_texts | st.sampled_from(["a/" * 3000, "/dev/null", "/", ".", "", "\0"]))
def test_names_of_configurations(name: str) -> None:
    assert isinstance(outcome(lambda: load_config(name), UserError), (RunConfig, list))
