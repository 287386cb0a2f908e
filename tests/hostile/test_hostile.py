"""Whatever a party hands in: refused in one line that names the file, at once, without memory, and not
executed."""

import dataclasses
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision  # noqa: F401 - imported before the first fork, so that no case pays for it

from fusion import untrusted
from fusion.networks import NETWORKS
from fusion.teachers import load_teacher, save_teacher
from tests.hostile.corpus import CASES
from tests.hostile.isolated import isolated
from tests.hostile.making import MARKER, hand_in, valid, valid_bytes
from tests.tiny import SPEC, teacher

SECONDS = 10.0
"""Of the processor: what is read without a bound takes minutes, or does not end."""
MEMORY = 200_000_000
MESSAGE = 1_500


@pytest.mark.parametrize("name", CASES)
def test_each_case_is_refused(name: str, tmp_path: Path) -> None:
    make, words = CASES[name]
    path = make(tmp_path)
    outcome = isolated(lambda: load_teacher(path))
    assert outcome.error == "TeacherError", outcome
    assert re.search(words, outcome.message), outcome.message
    assert str(tmp_path) in outcome.message
    assert outcome.message.isprintable()  # And so without a line end.
    assert len(outcome.message) < MESSAGE
    assert outcome.seconds < SECONDS
    assert outcome.growth < MEMORY
    assert not (tmp_path / MARKER).exists()


def test_what_means_no_harm_is_accepted_in_the_same_process(tmp_path: Path) -> None:
    path = valid(tmp_path)
    outcome = isolated(lambda: load_teacher(path))
    assert (outcome.error, outcome.seconds < SECONDS, outcome.growth < MEMORY) == (None, True, True)


def test_the_process_tells_apart_what_takes_memory_or_does_not_end() -> None:
    assert isolated(lambda: bytearray(300_000_000).count(1)).growth > 290_000_000
    assert isolated(lambda: pickle.loads(b"nonsense")).error == "UnpicklingError"
    assert isolated(lambda: bytearray(2**40)).error == "MemoryError"


@pytest.mark.parametrize(
    ("name", "unsafe"),
    [
        (
            "pickle_in_a_zip_of_torch",
            lambda path: torch.load(io.BytesIO(path.read_bytes()), weights_only=False),
        ),
        (
            "pickle_in_the_old_format_of_torch",
            lambda path: torch.load(io.BytesIO(path.read_bytes()), weights_only=False),
        ),
        ("pickle_of_protocol_0", lambda path: pickle.loads(path.read_bytes())),
        ("pickle_of_protocol_2", lambda path: pickle.loads(path.read_bytes())),
        ("pickle_of_protocol_4", lambda path: pickle.loads(path.read_bytes())),
        ("pickle_of_numpy", lambda path: np.load(io.BytesIO(path.read_bytes()), allow_pickle=True)),
    ],
)
def test_the_payloads_are_live(name: str, unsafe: Callable[[Path], object], tmp_path: Path) -> None:
    path = CASES[name][0](tmp_path)
    isolated(lambda: unsafe(path))
    assert (tmp_path / MARKER).exists()


def test_a_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    open_file = untrusted._without_waiting
    monkeypatch.setattr(
        untrusted,
        "_without_waiting",
        lambda path, flags: opened.append(Path(path).name) or open_file(path, flags),
    )
    load_teacher(valid(tmp_path))
    assert opened == ["one.json", "one.safetensors"]


def test_a_secret_that_a_link_leads_to_stands_in_no_message(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"schema": 1, "name": "s3cret!", "key": "s3cret!"}')
    for suffix in (".safetensors", ".json"):
        folder = tmp_path / suffix[1:]
        folder.mkdir()
        path = valid(folder)
        path.with_suffix(suffix).unlink()
        path.with_suffix(suffix).symlink_to(tmp_path / "secret")
        outcome = isolated(lambda path=path: load_teacher(path))
        assert outcome.error == "TeacherError"
        assert "s3cret" not in outcome.message


def test_a_link_that_a_person_names_is_followed_and_one_in_the_folder_too(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "named").mkdir()
    stored = valid(tmp_path / "store")
    named = tmp_path / "named" / "one.safetensors"
    named.symlink_to(stored)
    (tmp_path / "named" / "version-2.json").write_bytes(stored.with_suffix(".json").read_bytes())
    (tmp_path / "named" / "one.json").symlink_to("version-2.json")
    assert load_teacher(named).name == "one"


def test_odd_but_honest_teachers_are_accepted(tmp_path: Path) -> None:
    spaced = ("golden retriever", "Łódź", "猫", "100 % | <b>*`_[x](y)")
    assert load_teacher(hand_in(tmp_path, valid_bytes(), classes=list(spaced))).spec.classes == spaced
    assert load_teacher(hand_in(tmp_path, valid_bytes(), mean=[0], std=[1])).spec.std == (1,)
    assert load_teacher(hand_in(tmp_path, valid_bytes(), licence={"spdx": ["MIT"]})).name == "one"


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [8, 64, 96])
def test_every_network_passes(network: str, size: int, tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, size=size)
    save_teacher(teacher(network=network, spec=spec), tmp_path / "one.safetensors")
    assert load_teacher(tmp_path / "one.safetensors").network == network
