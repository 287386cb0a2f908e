"""Checkpoints: the same bits back, whatever is damaged is found, and no crash loses what was there."""

import errno
import itertools
import json
import math
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.health import Diverged
from orchestrator.checkpoint_files import _sealed
from orchestrator.checkpoints import Checkpoints, OutOfReach
from orchestrator.errors import UserError
from orchestrator.keeper import Keeper
from orchestrator.snapshot import FRESH, PartySnapshot, Snapshot
from orchestrator.storage import MANIFEST, LocalStorage, open_storage
from tests.unit.test_storage import in_memory

ROOT = Path(__file__).parents[2]
IDENTITY = {"seed": 0, "teachers.a.sha256": "0"}


def snapshot(iterations: int = 7) -> Snapshot:
    """With every kind of tensor and number that there is."""
    draw = torch.Generator().manual_seed(iterations)
    state = {
        "weight": torch.randn(3, 4, generator=draw),
        "empty": torch.zeros(0, 3),
        "steps": torch.tensor(iterations),
        "counts": torch.tensor([2**62, -1, 0]),
        "scalar": torch.tensor(0.1),
        "half": torch.randn(5, generator=draw).to(torch.bfloat16),
        "flag": torch.tensor([True, False]),
    }
    metrics = {"a/b": 0.1, "nan": math.nan, "inf": -math.inf, "tiny": 5e-324, "zero": -0.0}
    return Snapshot(
        iterations=iterations,
        student=state,
        parties={
            0: PartySnapshot(warmup_steps=4, iterations=iterations, state=state),
            11: PartySnapshot(warmup_steps=3, iterations=0, state={"x": torch.ones(1)}, metrics=metrics),
        },
        records=(metrics, {}),
        rewinds=2,
    )


def bits(numbers: Any) -> dict[str, str]:
    return {name: float(value).hex() for name, value in numbers.items()}


def assert_equal(mine: Snapshot, theirs: Snapshot) -> None:
    assert (mine.iterations, mine.rewinds) == (theirs.iterations, theirs.rewinds)
    assert [bits(one) for one in mine.records] == [bits(one) for one in theirs.records]
    assert mine.parties.keys() == theirs.parties.keys()
    for index, party in mine.parties.items():
        other = theirs.parties[index]
        assert (party.warmup_steps, party.iterations) == (other.warmup_steps, other.iterations)
        assert bits(party.metrics) == bits(other.metrics)
        assert_same_tensors(party.state, other.state)
    assert (mine.student is None) == (theirs.student is None)
    assert_same_tensors(mine.student or {}, theirs.student or {})


def assert_same_tensors(mine: Any, theirs: Any) -> None:
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert tensor.dtype == theirs[name].dtype
        assert torch.equal(tensor, theirs[name]), name


def opened(folder: Path, keep: int = 2, said: list[str] | None = None) -> Checkpoints:
    return Checkpoints(open_storage(str(folder)), keep, IDENTITY, (said if said is not None else []).append)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_snapshot_comes_back_bit_by_bit(tmp_path: Path) -> None:
    begun = Snapshot(parties={1: PartySnapshot(warmup_steps=1, iterations=0, state={})}, rewinds=1)
    for kept in (opened(tmp_path / "c"), Checkpoints(in_memory(tmp_path), 2, IDENTITY, print)):
        for one in (FRESH, begun, snapshot()):
            kept.save(one)
            assert_equal(kept.load(), one)


@pytest.mark.parametrize("keep", [1, 2, 4, 6, 9])
def test_the_newest_are_kept_and_numbers_go_up(keep: int, tmp_path: Path) -> None:
    kept = opened(tmp_path / "c", keep=keep)
    for iterations in range(1, 7):
        kept.save(snapshot(iterations))
        assert kept.load().iterations == iterations
    newest = range(max(1, 7 - keep), 7)
    assert names(tmp_path / "c") == [f"checkpoint-{number:08d}" for number in newest]
    kept.clear()
    assert not (tmp_path / "c").exists()


def damage(data: bytes, draw: random.Random) -> bytes | None:
    """One bit flipped, the end cut off, or (None) all of it gone."""
    kind = draw.randrange(10)
    if kind == 0:
        return None
    if kind < 3:
        return data[: draw.randrange(len(data))]
    changed = bytearray(data)
    changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def test_300_random_damages_are_all_found(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    for iterations in (1, 2):
        opened(whole).save(snapshot(iterations))
    draw, found = random.Random(7), 0
    for _ in range(300):
        folder = tmp_path / "c"
        shutil.copytree(whole, folder)
        file = draw.choice(sorted((folder / "checkpoint-00000002").iterdir()))
        changed = damage(file.read_bytes(), draw)
        file.unlink() if changed is None else file.write_bytes(changed)
        said: list[str] = []
        kept = opened(folder, said=said)
        found += kept.load().iterations == 1
        assert len(said) == 1
        assert said[0].startswith("checkpoint-00000002 is damaged (")
        assert "\n" not in said[0]
        kept.save(snapshot(3))
        assert kept.load().iterations == 3
        shutil.rmtree(folder)
    print(f"{found} of 300 damages found")
    assert found == 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["format", "identity", "iterations", "rewinds", "parties", "records", "files"]


@settings(max_examples=300, deadline=None)
@given(content=JSON | st.dictionaries(st.sampled_from(KEYS), JSON), sealed=st.booleans(), whole=st.booleans())
def test_any_manifest_is_damaged_or_a_snapshot(content: Any, sealed: bool, whole: bool) -> None:
    place = in_memory(Path())
    Checkpoints(place, 2, IDENTITY, print).save(snapshot())
    if whole and isinstance(content, dict):  # Only some of the keys are wrong.
        good = json.loads(place.read("checkpoint-00000001", MANIFEST))["content"]
        content = {**good, **content}
    data = _sealed(content) if sealed else json.dumps(content).encode()
    place.write("checkpoint-00000001", {MANIFEST: data})
    said: list[str] = []
    try:
        found = Checkpoints(place, 2, IDENTITY, said.append).load()
    except UserError as error:
        said.append(str(error))
        assert "is of another configuration: " in said[0]
    else:
        assert isinstance(found, Snapshot)
        assert len(said) == (2 if found is FRESH else 0)


def save_for_ever(folder: Path, saved: Any) -> None:
    kept = Checkpoints(open_storage(str(folder)), 2, {}, print)
    state = {"weight": torch.ones(2**17)}
    for number in itertools.count(kept.load().iterations + 1):
        party = PartySnapshot(warmup_steps=1, iterations=number, state=state)
        kept.save(Snapshot(iterations=number, student=state, parties={0: party}))
        saved.value = number


def test_a_saver_that_is_killed_at_random_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    draw, newest, half = random.Random(3), 0, 0
    processes = multiprocessing.get_context("fork")
    for _ in range(20):
        saved = processes.Value("q", -1, lock=False)  # A killed process would keep the lock.
        saver = processes.Process(target=save_for_ever, args=(tmp_path / "c", saved))
        saver.start()
        while saved.value < 0:
            assert saver.is_alive()
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.15))
        saver.kill()
        saver.join()
        said: list[str] = []
        found = Checkpoints(open_storage(str(tmp_path / "c")), 2, {}, said.append).load().iterations
        assert said == []
        assert found >= max(newest + 1, saved.value)
        newest = found
        half += any(name.startswith(".writing-") for name in names(tmp_path / "c"))
    print(f"20 kills, {half} of them within a write or a removal; the newest is {newest}")
    kept = Checkpoints(open_storage(str(tmp_path / "c")), 2, {}, print)
    kept.save(snapshot(newest + 1))
    assert [name for name in names(tmp_path / "c") if name.startswith(".")] == []
    assert len(names(tmp_path / "c")) == 2


class Unreachable(LocalStorage):
    """A network that is down."""

    def read(self, folder: str, name: str) -> bytes:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def test_a_storage_that_cannot_be_read_is_said_and_its_checkpoints_stay(tmp_path: Path) -> None:
    opened(tmp_path / "c").save(snapshot())
    with pytest.raises(OutOfReach, match=r"cannot read the checkpoints in .*: Connection timed out"):
        Checkpoints(Unreachable(tmp_path / "c"), 2, IDENTITY, print).load()
    assert_equal(opened(tmp_path / "c").load(), snapshot())


def test_one_that_cannot_be_removed_is_removed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = opened(tmp_path / "c", keep=1)
    kept.save(snapshot(1))
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "remove", lambda self, folder: (_ for _ in ()).throw(OSError(13, "no")))
        kept.save(snapshot(2))
    assert kept.load().iterations == 2
    kept.save(snapshot(3))
    assert names(tmp_path / "c") == ["checkpoint-00000003"]


FULL = """
import errno, os, sys, torch
from orchestrator.checkpoints import Checkpoints
from orchestrator.keeper import Keeper
from orchestrator.snapshot import Snapshot
from orchestrator.storage import open_storage

def fsync(descriptor):
    if os.fstat(descriptor).st_size > 10**6:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

if sys.argv[2:]:
    os.fsync = fsync
keeper = Keeper(Checkpoints(open_storage(sys.argv[1]), 2, {}, print), say=print)
for iterations, size in ((1, 10), (2, 10**6), (3, 20)):
    keeper.keep(Snapshot(iterations=iterations, student={"weight": torch.ones(size)}), [])
    newest, written = keeper.newest(), keeper._checkpoints
    print(iterations, newest.iterations, written.load().iterations,
          sorted(one.name for one in written._storage._root.iterdir()))
"""


def test_a_disk_that_is_full_is_one_line_and_the_one_before_stays(tmp_path: Path) -> None:
    """On a file system of 1 MB, mounted where nobody else sees it; where that is not allowed, a fake."""
    mount, run = ["unshare", "-rm", "sh", "-c"], [sys.executable, "-c", FULL, f"{tmp_path}/c"]
    mounted = f"mount -t tmpfs -o size=1m tmpfs {tmp_path}"
    allowed = subprocess.run([*mount, mounted], capture_output=True).returncode == 0
    done = subprocess.run(
        [*mount, f'{mounted} && exec "$@"', "sh", *run] if allowed else [*run, "fake"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    first, second = (f"checkpoint-{number:08d}" for number in (1, 2))
    assert (done.stderr, done.stdout.splitlines()) == (
        "",
        [
            f"1 1 1 ['{first}']",
            f"the checkpoint after 2 iterations could not be written to {tmp_path}/c: No space left on "
            "device; "
            "the run goes on, and the one before is untouched",
            f"2 2 1 ['{first}']",
            f"3 3 3 ['{first}', '{second}']",
        ],
    )


def test_what_is_not_finite_is_not_kept() -> None:
    keeper = Keeper()
    party = PartySnapshot(warmup_steps=1, iterations=3, state={"generator/w": torch.tensor([1.0, math.nan])})
    for wrong, term in (
        (Snapshot(iterations=3, parties={1: party}), "b/generator/w"),
        (Snapshot(iterations=3, student={"learner/w": torch.tensor(math.inf)}), "student/learner/w"),
    ):
        with pytest.raises(Diverged) as error:
            keeper.keep(wrong, ["a", "b"])
        assert str(error.value) == f"{term} is nan after 3 iterations"
    sound = PartySnapshot(warmup_steps=1, iterations=3, state={"w": torch.ones(1)})
    spoilt = Snapshot(iterations=3, student={"w": torch.tensor(math.nan)}, parties={0: sound})
    with pytest.raises(Diverged, match="student/w"):
        keeper.keep(spoilt, ["student"])  # As a teacher may be called.
    assert keeper.newest() is FRESH
    huge = Snapshot(iterations=1, student={"w": torch.full((9,), 3e38), "n": torch.tensor(3)})
    keeper.keep(huge, [])
    assert keeper.newest() is huge


def test_what_could_not_be_written_is_still_the_newest_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    keeper, parties = (
        Keeper(opened(tmp_path / "c"), say=said.append),
        [f"party-{index}" for index in range(12)],
    )
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device")
        patch.setattr(LocalStorage, "write", lambda *_: (_ for _ in ()).throw(full))
        keeper.keep(snapshot(3), parties)
        assert keeper.newest().iterations == 3
    assert "No space left on device" in said[0]
    keeper.keep(snapshot(5), parties)
    assert keeper.newest().iterations == 5
    assert names(tmp_path / "c") == ["checkpoint-00000001"]
