"""The same of other people's formats: one line, at once, without memory, and nothing is executed."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision  # noqa: F401 - imported before the first fork, so that no case pays for it

from fusion.fitting import closest
from fusion.outside import read_outside
from fusion.torch_file import open_torch_file
from tests.hostile.archives import AMBIGUOUS
from tests.hostile.foreign import torch_saved
from tests.hostile.isolated import isolated
from tests.hostile.making import MARKER, weights
from tests.hostile.outside import GIVEN, OUTSIDE, written
from tests.hostile.test_hostile import MEMORY, MESSAGE

SECONDS = 10.0
"""To find the architecture that fits best takes most of them."""


@pytest.fixture(scope="module", autouse=True)
def networks_were_built_before() -> None:
    """PyTorch imports parts of itself when it first builds on its meta device."""
    closest(weights())


@pytest.mark.parametrize("name", OUTSIDE)
def test_each_case_is_refused(name: str, tmp_path: Path) -> None:
    make, words = OUTSIDE[name]
    path = make(tmp_path)
    outcome = isolated(lambda: read_outside(path, GIVEN))
    assert outcome.error == "TeacherError", outcome
    assert re.search(words, outcome.message), outcome.message
    assert str(path) in outcome.message
    assert outcome.message.isprintable()
    assert len(outcome.message) < MESSAGE
    assert outcome.seconds < SECONDS
    assert outcome.growth < MEMORY
    assert not (tmp_path / MARKER).exists()


def test_what_means_no_harm_is_read_in_the_same_process(tmp_path: Path) -> None:
    path = written(tmp_path, torch_saved({"state_dict": weights()}), "one.ckpt")
    outcome = isolated(lambda: read_outside(path, GIVEN))
    assert (outcome.error, outcome.seconds < SECONDS, outcome.growth < MEMORY) == (None, True, True)


@pytest.mark.parametrize(
    "name", ["payload_as_lightning_checkpoint", "payload_as_bin", "payload_as_pth_in_the_old_format"]
)
def test_the_payloads_are_live(name: str, tmp_path: Path) -> None:
    path = OUTSIDE[name][0](tmp_path)
    isolated(lambda: torch.load(io.BytesIO(path.read_bytes()), weights_only=False))
    assert (tmp_path / MARKER).exists()


@pytest.mark.parametrize("make", AMBIGUOUS)
def test_the_ambiguous_archives_show_one_thing_and_are_read_as_another(
    make: Callable[[object, object], bytes],
) -> None:
    data = make({"read": "by PyTorch, and longer"}, {"shown": 1})
    program = zipfile.ZipFile(io.BytesIO(data)).read("archive/data.pkl")
    assert b"shown" in program and b"read" not in program
    assert list(torch.load(io.BytesIO(data), weights_only=True)) == ["read"]


def _repacked(data: bytes) -> bytes:
    """By `zipfile`, which writes no record for archives of any size."""
    found = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(found, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    return found.getvalue()


@pytest.mark.parametrize("tensors", [1, 300])
@pytest.mark.parametrize(
    "form",
    [
        lambda data: data,
        lambda data: data[:-10] + b"\xff" * 8 + data[-2:],  # As of 4 GiB and more: only the record says it.
        _repacked,
    ],
    ids=["saved", "saved as if large", "repacked"],
)
def test_archives_that_say_one_thing_are_read(form: Callable[[bytes], bytes], tensors: int) -> None:
    data = form(torch_saved({f"w{index}": torch.zeros(1) for index in range(tensors)}))
    assert len(open_torch_file(io.BytesIO(data), len(data)).shapes) == tensors
