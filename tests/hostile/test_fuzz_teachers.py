"""Random damage to weights and cards: what comes out is a valid teacher or a `TeacherError` of one line.

`FUZZ=20` in the environment multiplies the number of inputs; they are the same in every run.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.teachers import Teacher, TeacherError, load_teacher
from tests.hostile.fuzzing import fuzz, json_values, outcome
from tests.hostile.making import change_card, valid, valid_bytes, valid_header


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
