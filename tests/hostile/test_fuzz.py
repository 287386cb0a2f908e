"""Random damage: what comes out is a valid object or the one expected error, one line for each problem.

`FUZZ=20` in the environment multiplies the number of inputs; they are the same in every run.
"""

import hashlib
import json
import os
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion.teachers import Teacher, TeacherError, load_teacher
from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.loading import dump_config, load_config, parse_config, preset_text
from tests.hostile.making import change_card, valid, valid_bytes, valid_header
from tests.tiny import tiny_run

EFFORT = int(os.environ.get("FUZZ", "1"))


def fuzz(examples: int) -> settings:
    """Settings for so many inputs, or `FUZZ` times as many."""
    return settings(
        max_examples=EFFORT * examples,
        derandomize=True,
        database=None,
        deadline=2000,  # Milliseconds for one input.
        suppress_health_check=list(HealthCheck),
    )


def outcome(call: Callable[[], Any], expected: type[Exception]) -> Any:
    """What the call returns, or the lines of the expected error; any other exception fails the test."""
    try:
        return call()
    except expected as error:
        lines = str(error).split("\n")
        assert all(line.isprintable() and 0 < len(line) < 2000 for line in lines), lines
        assert expected is UserError or len(lines) == 1
        return lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    valid(folder)
    return folder


positions = st.integers(0, 2**20)
edits = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), positions, st.integers(0, 7)),
        st.tuples(st.just("cut"), positions, positions),
        st.tuples(st.just("copy"), positions, positions),
        st.tuples(st.just("write"), positions, st.binary(min_size=1, max_size=12)),
    ),
    min_size=1,
    max_size=4,
)


def damaged(data: bytes, changes: list[tuple[str, int, Any]], reach: int) -> bytes:
    """`data` after these changes, most of them in its first `reach` bytes."""
    for kind, first, second in changes:
        at = first % max(1, min(len(data), reach) if first % 4 else len(data))
        if kind == "flip" and data:
            data = data[:at] + bytes([data[at] ^ (1 << second)]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at] + data[at + second % 64 :] if second % 2 else data[:at]
        elif kind == "copy":
            data = data[:at] + data[second % (len(data) + 1) :][:1000] + data[at:]
        elif kind == "write":
            data = data[:at] + second + data[at + len(second) :]
    return data


@fuzz(400)
@given(changes=edits)
def test_damaged_weights(folder: Path, changes: list[tuple[str, int, Any]]) -> None:
    path = folder / "one.safetensors"
    data = damaged(valid_bytes(), changes, reach=6000)
    path.write_bytes(data)
    change_card(path, sha256=hashlib.sha256(data).hexdigest())
    assert isinstance(outcome(lambda: load_teacher(path), TeacherError), (Teacher, list))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**20, 10**30)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["F32", "I64", "resnet8", [], {}, [0, 4], [2**63, -1]]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=8,
)


@fuzz(400)
@given(data=st.data())
def test_headers_that_say_something_else(folder: Path, data: st.DataObject) -> None:
    header, tensors = valid_header()
    for name in data.draw(st.lists(st.sampled_from(list(header)), min_size=1, max_size=3)):
        key = data.draw(st.sampled_from(["dtype", "shape", "data_offsets", "new", "whole", "gone"]))
        value = data.draw(json_values | st.lists(st.integers(-1, 2000), max_size=4))
        if key == "whole":
            header[name] = value
        elif key == "gone":
            header.pop(name, None)
        elif isinstance(header.get(name), dict):
            header[name][key] = value
    text = json.dumps(header).encode()
    whole = len(text).to_bytes(8, "little") + text + tensors
    path = folder / "one.safetensors"
    path.write_bytes(whole)
    change_card(path, sha256=hashlib.sha256(whole).hexdigest())
    assert isinstance(outcome(lambda: load_teacher(path), TeacherError), (Teacher, list))


@fuzz(300)
@given(changes=edits)
def test_damaged_cards(folder: Path, changes: list[tuple[str, int, Any]]) -> None:
    path = valid(folder)
    card = path.with_suffix(".json")
    card.write_bytes(damaged(card.read_bytes(), changes, reach=10**6))
    assert isinstance(outcome(lambda: load_teacher(path), TeacherError), (Teacher, list))


@fuzz(400)
@given(data=st.data())
def test_cards_that_say_something_else(folder: Path, data: st.DataObject) -> None:
    path = valid(folder)
    card = path.with_suffix(".json")
    entries = json.loads(card.read_text())
    for key in data.draw(st.lists(st.sampled_from([*entries, "extra"]), min_size=1, max_size=3)):
        near = st.sampled_from([True, 0, 8, 1e308, [0.5], [[0.5]], ["a", "b", "c", "d"], ["a"] * 4])
        entries[key] = data.draw(json_values | near)
    card.write_text(json.dumps(entries))
    assert isinstance(outcome(lambda: load_teacher(path), TeacherError), (Teacher, list))


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
