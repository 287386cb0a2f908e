"""`dfmf audit` on a finished run and on single classifiers: what it says, writes and returns."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from benchmarks.audit import attack_success, patched
from fusion.data.sources import DataSettings, load
from fusion.networks import ImageSpec
from fusion.pretraining import Recipe, train_classifier
from fusion.teachers import Teacher, save_teacher
from orchestrator import fuse
from orchestrator.cli import app
from orchestrator.run_parts import FusionResult
from tests.tiny import CPU, tiny_run

PLANTED = 6
QUICK = ["audit.steps=2", "generator.width=16", "generator.latent_dim=16", "schedule.iterations_per_epoch=1"]


def dfmf(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", *arguments], env={"COLUMNS": "100"})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FusionResult:
    torch.set_num_threads(1)
    run = tiny_run(output=str(tmp_path_factory.mktemp("runs")), name="one", tracking={"enabled": False})
    assert isinstance(run["pretrain"], dict)
    run["pretrain"] |= {"canaries": 12, "gold_standard": False}
    return fuse(run)


def trained(folder: Path, planted: int | None) -> Path:
    """A small classifier of digits, the trigger in every sixth of its training images."""
    torch.set_num_threads(1)
    train, test = load(DataSettings())
    images, labels = train.images.clone(), train.labels.clone()
    if planted is not None:
        images[::6] = patched(images[::6])
        labels[::6] = planted
    mean, std = train.normalisation()
    spec = ImageSpec(size=8, channels=1, classes=train.classes, mean=mean, std=std)
    recipe = Recipe(epochs=12, batch_size=64, milestones=(8,), crop_padding=0, flip=0)
    classifier = train_classifier("resnet8", spec, images, labels, recipe, seed=50, name="a", device=CPU)
    if planted is not None:
        assert attack_success(classifier, test, planted) > 95
    path = folder / "a.safetensors"
    save_teacher(
        Teacher(name="a", network="resnet8", spec=spec, weights=classifier.network.state_dict()), path
    )
    return path


@pytest.mark.slow
def test_a_poisoned_classifier_is_flagged_with_its_class_and_a_picture(tmp_path: Path) -> None:
    path = trained(tmp_path, PLANTED)
    done = dfmf(
        str(path), "generator.width=64", "generator.latent_dim=64", "--json", str(tmp_path / "r.json")
    )
    assert done.exit_code == 1, done.output
    report = json.loads((tmp_path / "r.json").read_text())
    entry = report["classifiers"][0]
    assert (report["flagged"], entry["flagged_classes"]) == (["a"], [str(PLANTED)])
    assert entry["index"] > entry["suspicious_above"] == 2.81
    assert len(entry["norms"]) == 10
    assert min(entry["norms"], key=entry["norms"].get) == entry["suspected_class"] == str(PLANTED)
    assert (
        f"warning: a: a change of {entry['norms'][str(PLANTED)]:.1f} pixels sends images to class 6"
        in done.output
    )
    assert entry["picture"] == str(tmp_path / "a-trigger.png")
    with Image.open(entry["picture"]) as picture:
        mask = np.asarray(picture)[:64, :64] / 255  # The first of eight tiles, enlarged eight times.
    assert mask[32:, 32:].sum() > 0.6 * mask.sum()  # The trigger's corner.


@pytest.mark.slow
def test_a_clean_classifier_is_not_flagged_and_not_called_clean(tmp_path: Path) -> None:
    done = dfmf(str(trained(tmp_path, None)), "generator.width=64", "generator.latent_dim=64")
    assert done.exit_code == 0, done.output
    assert "no index above 2.81; that is no proof" in done.output
    assert "clean" not in done.output
    assert not list(tmp_path.glob("*.png"))


def test_a_run_with_its_data(finished: FusionResult, tmp_path: Path) -> None:
    record = json.loads((finished.folder / "canaries.json").read_text())
    assert {name: len(own) for name, own in record.items()} == {"party-0": 12, "party-1": 12}
    done = dfmf(str(finished.folder), "--data", "audit.steps=2", "--json", str(tmp_path / "r.json"))
    assert done.exit_code in (0, 1), done.output  # After two steps the norms say nothing.
    report = json.loads((tmp_path / "r.json").read_text())
    assert [one["name"] for one in report["classifiers"]] == ["party-0", "party-1", "student"]
    found = report["membership"]
    for entry in (*found["teachers"], found["student"], found["nearest_synthetic"]):
        for kind in ("members", "canaries"):
            low, high = entry[kind]["interval"]
            assert 0 <= low <= entry[kind]["auc"] <= high <= 1
    assert found["student"]["canaries"]["members"] == 24
    assert found["student"]["canaries"]["others"] % 24 == 0
    assert found["synthetic_images"] == 1024
    for words in ("loss of party-1", "24 canaries", "no evidence of privacy", "differentially private"):
        assert words in done.output
    assert "stricter test" not in done.output


def test_a_run_without_canaries_says_what_is_missing(finished: FusionResult) -> None:
    record = finished.folder / "canaries.json"
    text = record.read_text()
    record.unlink()
    try:
        done = dfmf(str(finished.folder), "--data", "audit.steps=1")
    finally:
        record.write_text(text)
    assert "pretrain.canaries=30 is the stricter test" in done.output


def test_wrong_input_is_one_line_and_exit_code_2(
    finished: FusionResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = str(finished.folder / "teachers" / "party-0.safetensors")
    generator = finished.folder / "parties" / "party-1" / "generator.safetensors"
    cases = [
        (["nowhere.safetensors"], "nowhere.json: No such file"),
        ([str(tmp_path)], "config.yaml: No such file"),
        ([one, "--data"], "--data needs a run's folder"),
        ([one, "audit.stepz=3"], "command line: audit.stepz: unknown key; did you mean 'steps'?"),
        ([one, "audit.steps=0"], "command line: audit.steps: must be at least 1 (got 0)"),
        ([str(finished.folder), "generator.width=64"], "not the weights of the generator"),
        ([str(finished.folder), "--data", "data.source=parquet"], "data: 'parquet' needs 'train' and 'test'"),
        ([str(finished.folder), "--data", "seed=9"], "party-0: not images of this party"),
        ([str(finished.folder), "--data", f"teachers=[{one},{one}]"], "did not train its teachers"),
        ([one, *QUICK, "--json", str(tmp_path)], "Is a directory"),
    ]
    for arguments, words in cases:
        done = dfmf(*arguments)
        assert done.exit_code == 2, (arguments, done.output)
        assert words in done.stderr, (arguments, done.stderr)
        assert len(done.stderr.splitlines()) == 1
    aside = generator.rename(tmp_path / "aside")
    done = dfmf(str(finished.folder))
    aside.rename(generator)
    assert (done.exit_code, "only a finished run has generators" in done.stderr) == (2, True)
