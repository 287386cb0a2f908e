"""Shipping to a store that breaks in every way: nothing is lost or doubled, and the run is never held up."""

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fusion.teachers import save_teacher
from orchestrator import journal, shipping
from orchestrator.errors import UserError
from orchestrator.flavor import load_student
from orchestrator.lock import locked
from orchestrator.sending import Note, Sender, read_note, write_note
from orchestrator.shipping import Shipper
from orchestrator.tracking import MlflowRun, errors
from tests.tiny import teacher


class Store:
    """Stands for `MlflowRun`; `fail` is asked before (or after) each call and may raise."""

    def __init__(self) -> None:
        self.points: list[tuple[str, int, float]] = []
        self.pictures: list[tuple[str, int]] = []
        self.files: list[str] = []
        self.students: set[Path] = set()
        self.versions: set[str] = set()
        self.status = "RUNNING"
        self.fail: Callable[[str], None] = lambda what: None

    def log_metrics(self, step: int, metrics: dict[str, float], timestamp_ms: int) -> None:
        self.fail("before metrics")
        self.points += [(name, step, value) for name, value in metrics.items()]
        self.fail("after metrics")

    def steps(self, name: str, since_ms: int) -> set[int]:
        self.fail("steps")
        return {step for found, step, _ in self.points if found == name}

    def log_pictures(self, pictures: dict[str, Image.Image], step: int, timestamp_ms: int) -> None:
        self.fail("pictures")
        self.pictures += [(name, step) for name in pictures]

    def log_file(self, path: Path) -> None:
        self.fail("file")
        self.files += [path.name] if path.exists() else []

    def log_student(self, folder: Path, channels: int, size: int, classes: int) -> None:
        self.fail("student")
        self.students.add(folder)  # The real one completes what broke off.

    def log_teachers(self, teachers: list[dict[str, Any]]) -> None:
        self.fail("teachers")

    def register_student(self, folder: Path, name: str, teachers: list[dict[str, Any]]) -> str:
        self.fail("before version")
        self.versions.add(name)  # The real one looks first.
        self.fail("after version")
        return f"models:/{name}/1"

    def set_status(self, status: str) -> None:
        self.fail("status")
        self.status = status


class Failing:
    """Raises `error` the first `times` times that something named so happens."""

    def __init__(self, what: str, error: BaseException, times: int = 1) -> None:
        self.what, self.error, self.left = what, error, times

    def __call__(self, what: str) -> None:
        if self.left and self.what in what:
            self.left -= 1
            raise self.error


def epoch(folder: Path, number: int) -> None:
    (folder / "samples").mkdir(exist_ok=True)
    Image.new("L", (4, 4)).save(folder / "samples" / f"a-epoch-{number:04d}.png")
    journal.append_epoch(folder, number, number, {"x": float(number), "y": 0.5})


def ended(folder: Path, epochs: int = 3) -> Path:
    for number in range(epochs):
        epoch(folder, number)
    summary: dict[str, Any] = {
        "student": {"accuracy": 50.0, "agreement": 60.0},
        "ensemble": {"accuracy": 1.0},
    }
    summary |= {"teachers": [], "gap_closed": None, "seconds": 1.0, "rewinds": 0, "status": "finished"}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "student.json").write_text(json.dumps({"channels": 1, "image_size": 8, "classes": ["a"]}))
    write_note(folder, Note(uri="sqlite:////nowhere.db", run_id="r"))
    return folder


def shipper(folder: Path, store: Store, said: list[str]) -> Shipper:
    return Shipper(folder, Note(uri="http://host", run_id="r"), store, said.append)  # type: ignore[arg-type]


def assert_all_once(store: Store, epochs: int = 3) -> None:
    assert sorted(point[:2] for point in store.points if point[0] == "x") == [("x", n) for n in range(epochs)]
    assert len(store.points) == len(set(store.points))
    assert store.pictures == [("a", number) for number in range(epochs)]
    assert (store.status, len(store.students)) == ("FINISHED", 1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    errors()  # Imports MLflow, which takes seconds.
    monkeypatch.setattr(shipping, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(shipping, "LAST_TRY_SECONDS", 0.6)


@pytest.mark.parametrize("what", ["before metrics", "after metrics", "pictures", "file", "student", "status"])
def test_what_breaks_off_once_arrives_once(what: str, tmp_path: Path) -> None:
    store, said = Store(), list[str]()
    store.fail = Failing(what, ConnectionError("gone"))
    one = shipper(ended(tmp_path), store, said)
    one.finish("FINISHED")
    assert_all_once(store)
    assert said == [f"http://host does not take metrics (gone); they wait in {tmp_path}"]
    note = read_note(tmp_path)
    assert note is not None
    assert (note.epoch, note.status, note.done) == (2, "FINISHED", True)


@pytest.mark.parametrize("what", ["teachers", "before version", "after version"])
def test_a_student_is_registered_once_though_it_breaks_off(what: str, tmp_path: Path) -> None:
    store, said = Store(), list[str]()
    store.fail = Failing(what, ConnectionError("gone"))
    note = Note(uri="http://host", run_id="r", register_as="fused")
    one = Shipper(ended(tmp_path), note, store, said.append)  # type: ignore[arg-type]
    one.finish("FINISHED")
    assert store.versions == {"fused"}
    assert said[-1] == "the student is registered as models:/fused/1"


def test_a_store_that_is_gone_for_good_ends_the_waiting(tmp_path: Path) -> None:
    store, said = Store(), list[str]()
    store.fail = Failing("metrics", ConnectionError("gone"), times=10**6)
    one = shipper(ended(tmp_path), store, said)
    started = time.monotonic()
    one.finish("FINISHED")
    assert 0.5 < time.monotonic() - started < 5
    assert said[-1] == (
        f"shipping to http://host is not complete; what it lacks is in {tmp_path}; "
        f"to send that: dfmf sync {tmp_path}"
    )
    note = read_note(tmp_path)
    assert note is not None
    assert (note.epoch, note.status, note.done) == (-1, "FINISHED", False)


def test_a_call_that_hangs_for_ever_does_not_keep_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "SILENT_SECONDS", 0.5)
    store, said, released = Store(), list[str](), threading.Event()
    store.fail = lambda what: released.wait(60) and None if what == "pictures" else None
    one = shipper(ended(tmp_path), store, said)
    started = time.monotonic()
    one.finish("FINISHED")
    assert time.monotonic() - started < 5
    assert f"dfmf sync {tmp_path}" in said[-1]
    released.set()
    one._thread.join(10)
    assert not one._thread.is_alive()
    assert store.status == "RUNNING"  # It has been given up.


@pytest.mark.parametrize(
    "error", [KeyError("x"), ValueError("bad\nvalue"), RuntimeError(), SyntaxError("PNG")]
)
def test_whatever_is_raised_ends_the_shipping_and_not_the_run(error: Exception, tmp_path: Path) -> None:
    store, said = Store(), list[str]()
    store.fail = Failing("pictures", error)
    one = shipper(ended(tmp_path), store, said)
    one.finish("FINISHED")
    assert len(said) == 2
    assert said[0].startswith("shipping to http://host is given up: ")
    assert said[1].startswith("shipping to http://host was given up (")
    assert all("\n" not in line for line in said)


def test_a_damaged_journal_is_said_and_a_damaged_picture_left_out(tmp_path: Path) -> None:
    folder = ended(tmp_path)
    (folder / "samples" / "a-epoch-0001.png").write_bytes(b"\x89PNG")
    store, said = Store(), list[str]()
    shipper(folder, store, said).finish("FINISHED")
    assert store.pictures == [("a", 0), ("a", 2)]
    assert store.status == "FINISHED"
    lines = (folder / "metrics.jsonl").read_bytes().split(b"\n")
    (folder / "metrics.jsonl").write_bytes(b"\n".join([lines[0], lines[1][:-9], *lines[2:]]))
    shipper(folder, Store(), said).finish("FINISHED")
    assert (
        said[0]
        == f"shipping to http://host is given up: {folder / 'metrics.jsonl'}: is damaged (JSONDecodeError)"
    )


def test_a_run_that_goes_back_sends_the_epochs_after_that_again(tmp_path: Path) -> None:
    store, said = Store(), list[str]()
    one = shipper(tmp_path, store, said)
    for number in range(4):
        epoch(tmp_path, number)
    one.notify()
    wait_for(lambda: len(store.points) == 8)
    journal.go_back(tmp_path, 1)
    one.go_back(1)
    store.points.clear()  # A store counts what is there from before as not there (`since_ms`).
    for number in (2, 3):
        epoch(tmp_path, number)
    one.finish("KILLED")
    assert [point[:2] for point in store.points] == [("x", 2), ("y", 2), ("x", 3), ("y", 3)]
    assert (store.status, said) == ("KILLED", [])


def test_an_epoch_written_while_the_journal_is_read_is_sent_before_the_run_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, note, read = Store(), Note(uri="http://host", run_id="r"), journal.read_epochs
    epoch(tmp_path, 0)

    def late(folder: Path) -> list[dict[str, Any]]:
        found = read(folder)
        if note.status == "RUNNING":
            epoch(tmp_path, 1)
            note.status = "KILLED"  # The run ends after the journal was read.
        return found

    monkeypatch.setattr(journal, "read_epochs", late)
    sender = Sender(tmp_path, note, store)  # type: ignore[arg-type]
    sender.send()
    assert not note.done
    sender.send()
    assert note.done
    assert [point[:2] for point in store.points] == [("x", 0), ("y", 0), ("x", 1), ("y", 1)]


def test_nobody_knows_what_arrived_before_a_crash_so_it_is_looked_for(tmp_path: Path) -> None:
    folder, store = ended(tmp_path), Store()
    store.points = [(name, number, value) for number in (0, 1) for name, value in (("x", number), ("y", 0.5))]
    note = Note(uri="http://host", run_id="r", epoch=-1, status="FINISHED")
    sender = Sender(folder, note, store)  # type: ignore[arg-type]
    sender.doubt()
    sender.send()
    assert sorted(point[:2] for point in store.points if point[0] == "x") == [("x", n) for n in range(3)]
    assert note.done


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1]", "null", '"x"', "{}", '{"uri": 1, "run_id": "r"}', "[" * 10**5),
        *('{"uri": "u", "run_id": "r", "x": 1}', '{"uri": "u", "run_id": "r", "epoch": "3"}'),
        '{"uri": "u", "run_id": "r", "done": 1}',
    ],
)
def test_a_damaged_note_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "tracking.json").write_text(text)
    for read in (read_note, shipping.sync, lambda folder: shipping.resume(folder, "http://host", print)):
        with pytest.raises(UserError, match=r"tracking\.json: is damaged") as error:
            read(tmp_path)
        assert "\n" not in str(error.value)


def test_what_cannot_be_synced_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run that is tracked"):
        shipping.sync(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/tracking\.json: cannot be read \(Not a directory\)$"):
        shipping.sync(tmp_path / "file")
    folder = ended(tmp_path)
    with locked(folder), pytest.raises(UserError, match="is in use by process"):
        shipping.sync(folder)
    for name, content in (
        ("summary.json", '{"status": "finished"}'),
        ("student.json", "[]"),
        ("student.json", "{"),
    ):
        before = (folder / name).read_text()
        (folder / name).write_text(content)
        with pytest.raises(UserError) as error:
            Sender(folder, Note(uri="u", run_id="r", status="FINISHED"), Store()).send()  # type: ignore[arg-type]
        assert name in str(error.value)
        (folder / name).write_text(before)


def test_a_run_that_ended_while_it_shipped_is_finished_by_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = ended(tmp_path), Store()
    monkeypatch.setattr(shipping, "MlflowRun", lambda uri, run_id: store)
    assert shipping.lacking(folder)
    assert shipping.sync(folder) == f"sqlite:////nowhere.db has everything of {folder}; 3 epochs were sent"
    assert_all_once(store)
    assert not shipping.lacking(folder)
    assert shipping.sync(folder) == f"sqlite:////nowhere.db has everything of {folder}"
    assert_all_once(store)


def test_a_journal_that_becomes_a_table_meanwhile_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, read = ended(tmp_path), Path.read_bytes
    expected = journal.read_epochs(folder)

    def late(path: Path) -> bytes:
        if path.name == journal.JOURNAL and path.exists():
            monkeypatch.undo()
            journal.write_table(folder)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", late)
    assert journal.read_epochs(folder) == expected
    assert not (folder / journal.JOURNAL).exists()


def test_what_is_logged_twice_is_in_mlflow_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run = MlflowRun(uri)
    run.create("e", tmp_path / "artifacts", "one", {}, {})
    picture = Image.new("RGB", (8, 4))
    for _ in range(2):
        run.log_pictures({"party-é": picture}, 3, 1234)
    folder = next(tmp_path.rglob("images"))
    ours = sorted(path.name for path in folder.iterdir())
    assert len(ours) == 2
    run._client.log_image(run.run_id, picture, key="samples/party-_", step=3, timestamp=1234)
    theirs = sorted(path.name for path in folder.iterdir() if path.name not in ours)
    identifier = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
    assert [identifier.sub("ID", name) for name in ours] == [identifier.sub("ID", name) for name in theirs]
    with Image.open(next(folder.glob("*.png"))) as image:
        assert image.size == (8, 4)
    run.log_metrics(1, {"a": 1.0, "b": 2.0}, 1000)
    run.log_metrics(2, {"a": 1.0}, 2000)
    assert (run.steps("a", 0), run.steps("a", 1500), run.steps("c", 0)) == ({1, 2}, {2}, set())
    # A model of which an attempt that broke off left no more than its name.
    save_teacher(teacher(), tmp_path / "student.safetensors")
    experiment = run._client.get_run(run.run_id).info.experiment_id
    run._client.create_logged_model(experiment, name="student", source_run_id=run.run_id)
    for _ in range(2):
        run.log_student(tmp_path, 1, 8, 4)
    models = run._client.search_logged_models([experiment])
    assert [(one.name, str(one.status)) for one in models] == [("student", "READY")]
    loaded = load_student(f"models:/{models[0].model_id}")
    assert loaded(torch.zeros(2, 1, 8, 8)).logits.shape == (2, 4)
