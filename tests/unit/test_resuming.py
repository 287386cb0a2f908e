"""A run is gone on with as it began, wherever its folder and its checkpoints are by now."""

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from fusion.teachers import save_teacher
from orchestrator import Interrupted, UserError, pretrain
from orchestrator.checkpoint_files import from_files, read_manifest
from orchestrator.checkpoints import Checkpoints
from orchestrator.config import RunConfig
from orchestrator.identity import check_identity, run_identity
from orchestrator.loading import load_config
from orchestrator.shipping import sync
from orchestrator.snapshot import Spent
from orchestrator.storage import LocalStorage
from tests.instant import instantly, small_run, stop
from tests.tiny import SPEC, teacher

SCHEDULE = {"warmup_epochs": 1, "epochs": 2, "iterations_per_epoch": 5, "batch_size": 33}


def own(folder: Path) -> RunConfig:
    return load_config(str(folder / "config.yaml"))


def begun(folder: Path, **changes: Any) -> Path:
    """A run without a checkpoint."""
    with pytest.raises(Interrupted):
        instantly(small_run(folder, **changes), then=stop)
    shutil.rmtree(folder / "one" / "checkpoints")
    return folder / "one"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=7", "seed: 0 there, 7 here"),
        ("student=resnet8", "student: 'resnet8-w8' there, 'resnet8' here"),
        ("schedule.epochs=1", "schedule.epochs: 2 there, 1 here"),
        ("method.alpha=0.5", "method.alpha: 0.1 there, 0.5 here"),
        ("engine.threads=2", "engine.threads: 1 there, 2 here"),
        ("pretrain.r=5", "pretrain.r: 10.0 there, 5.0 here"),
        ("data.image_size=16", "data.image_size: None there, 16 here"),
    ],
)
def test_before_the_first_checkpoint_too_what_decides_may_not_change(
    override: str, expected: str, run: Path
) -> None:
    before = sorted(run.iterdir())
    with pytest.raises(UserError) as error:
        instantly(None, override, resume=run)
    assert f"{run / 'config.yaml'} is of another configuration: " in str(error.value)
    assert expected in str(error.value)
    assert sorted(run.iterdir()) == before


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun(tmp_path_factory.mktemp("begun"))


def test_where_and_how_it_runs_may_change(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "one")
    changes = ("engine.prefetch=3", "checkpoint.keep=1", "pretrain.gold_standard=false", "data.root=there")
    assert instantly(None, *changes, resume=folder).summary["status"] == "finished"


@pytest.mark.parametrize("configuration", ["demo", None])
@pytest.mark.parametrize("start", [instantly, pretrain])
def test_a_folder_that_holds_no_run_is_refused_and_left_as_it_is(
    start: Any, configuration: str | None, tmp_path: Path
) -> None:
    documents, empty = tmp_path / "documents", tmp_path / "empty"
    documents.mkdir()
    (documents / "thesis.txt").write_text("x")
    empty.mkdir()
    for folder in (documents, empty, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=rf"^--resume: {folder} holds no run \(config.yaml is missing\)$"):
            start(configuration, resume=folder)
    assert [path.name for path in documents.iterdir()] == ["thesis.txt"]
    assert empty.is_dir()
    assert not (tmp_path / "nowhere").exists()


def test_only_a_folder_that_was_made_now_is_removed_when_the_input_is_wrong(tmp_path: Path) -> None:
    storage = "checkpoint.to=nothing://x"
    with pytest.raises(UserError, match=r"checkpoint\.to: cannot write to"):
        instantly(small_run(tmp_path), storage)
    assert list(tmp_path.iterdir()) == []
    folder = begun(tmp_path)
    with pytest.raises(UserError, match=r"checkpoint\.to: cannot write to"):
        instantly(None, storage, resume=folder)
    assert (folder / "config.yaml").exists()


def test_checkpoints_that_were_moved_are_where_the_next_start_looks_for_them(tmp_path: Path) -> None:
    old, new, folder = tmp_path / "old", tmp_path / "new", tmp_path / "one"
    with pytest.raises(Interrupted):
        instantly(small_run(tmp_path, checkpoint={"to": str(old)}), then=stop)
    shutil.rmtree(folder)
    old.rename(new)
    with pytest.raises(UserError, match=r"config\.yaml is of another configuration: seed: 0 there, 1 here"):
        instantly(None, "seed=1", resume=new)
    assert not folder.exists()
    with pytest.raises(Interrupted, match=f"dfmf fuse --resume {folder}$"):
        instantly(None, "checkpoint.keep=3", resume=new, then=stop)
    assert (own(folder).checkpoint.to, own(folder).checkpoint.keep) == (str(new), 3)

    def look(job: Any) -> None:
        assert job.start.iterations == 10

    assert instantly(None, resume=folder, then=look).folder == folder
    assert not new.exists()


def test_an_identity_knows_the_teachers_in_their_order_and_what_they_take() -> None:
    config, entries = load_config("demo"), [{"name": "a", "sha256": "1"}, {"name": "b", "sha256": "2"}]
    first = run_identity(config, entries, [SPEC, SPEC])
    check_identity(json.loads(json.dumps(first)), first, "here")
    swapped = run_identity(config, entries[::-1], [SPEC, SPEC])
    with pytest.raises(UserError, match=r"teachers\.0\.a\.sha256: '1' there, None here"):
        check_identity(first, swapped, "here")
    other = run_identity(config, entries, [SPEC, dataclasses.replace(SPEC, mean=(0.5,))])
    with pytest.raises(
        UserError, match=r"^here is of another configuration: teachers\.1\.mean: \[0\.3\] there"
    ):
        check_identity(json.loads(json.dumps(first)), other, "here")
    assert run_identity(load_config("demo", ["audit.steps=400"]), entries, [SPEC, SPEC]) == first


def test_teachers_that_are_given_in_another_order_or_normalised_otherwise_are_other_teachers(
    tmp_path: Path,
) -> None:
    for index in (0, 1):
        save_teacher(teacher(index), tmp_path / f"{index}.safetensors")
    torch.save(teacher(2).weights, tmp_path / "2.pt")
    foreign = {"source": str(tmp_path / "2.pt"), "network": "resnet8-w8", "classes": list(SPEC.classes)}
    foreign |= {"image_size": 8, "channels": 1, "mean": [0.3], "std": [0.4]}
    given = [str(tmp_path / f"{index}.safetensors") for index in (0, 1)]
    tree = small_run(tmp_path, teachers=[*given, foreign], data=None, schedule=SCHEDULE)
    with pytest.raises(Interrupted):
        instantly(tree, then=stop)
    changed = {**tree, "teachers": [*given[::-1], foreign]}
    with pytest.raises(UserError, match=r"checkpoint-00000001 is of another configuration: teachers\.0\."):
        instantly(changed, resume=tmp_path / "one")
    changed = {**tree, "teachers": [*given, {**foreign, "mean": [0.5]}]}
    with pytest.raises(UserError, match=r"teachers\.2\.mean: \[0\.3\] there, \[0\.5\] here$"):
        instantly(changed, resume=tmp_path / "one")
    assert instantly(tree, "audit.steps=400", resume=tmp_path / "one").summary["status"] == "finished"


def test_a_checkpoint_of_before_is_refused_and_not_misread() -> None:
    ours = run_identity(load_config("demo"), [])
    before = {key: value for key, value in ours.items() if key != "identity"}
    for theirs in (before, {**ours, "identity": 3}, None):
        with pytest.raises(
            UserError, match=r"^here is of another version of dfmf, .*; go on with that version"
        ):
            check_identity(theirs, ours, "here")


def tracked(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A run that was stopped, and what is known of it in MLflow."""
    with pytest.raises(Interrupted):
        instantly(small_run(folder, tracking={}), then=stop)
    return folder / "one", note_of(folder / "one")


def note_of(folder: Path) -> dict[str, Any]:
    note: dict[str, Any] = json.loads((folder / "tracking.json").read_text())
    return note


def test_a_run_is_the_same_in_mlflow_by_whatever_path_it_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, before = tracked(tmp_path / "runs")
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "latest"
    link.symlink_to(folder)
    with pytest.raises(Interrupted, match=f"dfmf fuse --resume {folder}$"):
        instantly(None, resume=link, then=stop)
    monkeypatch.chdir(folder / "teachers")
    assert instantly(None, resume="..").folder == folder
    note = note_of(folder)
    assert (note["uri"], note["run_id"], note["done"]) == (before["uri"], before["run_id"], True)
    assert sync(link) == f"{before['uri']} has everything of {link}"
    assert [path.name for path in (tmp_path / "links").iterdir()] == ["latest"]


@pytest.mark.parametrize("whole", [True, False])
def test_a_folder_that_was_moved_is_the_same_run_in_mlflow(whole: bool, tmp_path: Path) -> None:
    folder, before = tracked(tmp_path / "runs")
    if whole:  # With its database.
        folder = (tmp_path / "runs").rename(tmp_path / "moved") / "one"
    else:
        (tmp_path / "moved").mkdir()
        folder = folder.rename(tmp_path / "moved" / "one")
    instantly(None, resume=folder)
    note = note_of(folder)
    assert (note["run_id"], note["done"]) == (before["run_id"], True)
    assert note["uri"] == (f"sqlite:///{tmp_path}/moved/mlflow.db" if whole else before["uri"])
    assert (tmp_path / "moved" / "mlflow.db").exists() == whole
    (folder / "tracking.json").write_text(json.dumps({**note, "uri": before["uri"], "done": False}))
    assert sync(folder).startswith(f"{note['uri']} has everything of {folder}")


def test_a_run_whose_database_is_gone_begins_anew_in_mlflow(tmp_path: Path) -> None:
    folder, before = tracked(tmp_path / "runs")
    folder = folder.rename(tmp_path / "one")
    shutil.rmtree(tmp_path / "runs")
    instantly(None, resume=folder)
    note = note_of(folder)
    assert note["uri"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert note["run_id"] != before["run_id"]
    assert (note["done"], note["epoch"]) == (True, -1)


def test_what_a_finished_run_does_not_do_any_more_is_checked_and_said(tmp_path: Path) -> None:
    folder = instantly(small_run(tmp_path)).folder
    with pytest.raises(UserError, match=r"^command line: nonsense: unknown key"):
        instantly(None, "nonsense=4", resume=folder)
    for overrides, expected in (
        ((), "nothing is left to do\n"),
        (
            ("schedule.epochs=9", "tracking.uri=http://u:CANARY@host"),
            "nothing is left to do; a finished run stays as it is, without schedule.epochs=9, "
            "tracking.uri=http://***@host\n",
        ),
    ):
        text = io.StringIO()
        result = instantly(None, *overrides, resume=folder, console=Console(file=text, width=400))
        assert result.summary["status"] == "finished"
        assert text.getvalue() == f"{folder} is finished; {expected}"


def test_the_seconds_of_a_run_are_those_of_all_its_starts(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        instantly(small_run(tmp_path), then=stop)
    folder = tmp_path / "one"
    storage = LocalStorage(folder / "checkpoints")
    manifest = read_manifest(storage, "checkpoint-00000001")
    summary = json.loads((folder / "summary.json").read_text())
    found = from_files(storage, "checkpoint-00000001", manifest)
    assert 0 < found.spent.seconds <= summary["seconds"] < found.spent.seconds + 5
    assert found.spent.to_first_iteration == summary["seconds_to_first_iteration"]
    for spent in (Spent(seconds=2000.0), Spent(seconds=2000.0, to_first_iteration=400.0)):
        copy = shutil.copytree(folder, tmp_path / "copies" / str(spent.to_first_iteration))
        longer = dataclasses.replace(found, spent=spent)
        Checkpoints(LocalStorage(copy / "checkpoints"), 2, manifest["identity"], print).save(longer)
        again = instantly(None, resume=copy).summary
        first = again["seconds_to_first_iteration"]
        assert first == 400.0 if spent.to_first_iteration else 2000 < first <= again["seconds"]
        assert 2000 < again["seconds"] < 2100
