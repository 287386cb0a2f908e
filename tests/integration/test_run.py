"""Whole runs as a user starts them, and what they leave."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from fusion.criteria import CRITERIA
from fusion.data.sources import load
from fusion.networks import build_network
from fusion.teachers import load_teacher
from orchestrator import Interrupted, UserError, evaluate, fuse, pretrain, schooling
from orchestrator.choosing import rank_runs
from orchestrator.cli import app
from orchestrator.evaluating import load_config
from orchestrator.run_parts import FusionResult
from tests.tiny import SPEC, teacher, tiny_run
from tests.tracked import other_schema


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FusionResult:
    torch.set_num_threads(1)
    return fuse(tiny_run(output=str(tmp_path_factory.mktemp("runs")), name="one", seed=3))


def test_the_folder_holds_what_the_documentation_promises(finished: FusionResult) -> None:
    names = {path.name for path in finished.folder.iterdir()}
    assert names == {
        *(
            "summary.json",
            "student.safetensors",
            "student.json",
            "MODEL_CARD.md",
            "config.yaml",
            "environment.json",
        ),
        *("metrics.parquet", "plots", "samples", "teachers", "parties", "tracking.json"),
    }
    assert {path.name for path in (finished.folder / "plots").iterdir()} == {
        *("accuracy.png", "adversarial-loss.png", "class-subsets.png"),
        *("generator-losses.png", "assistant-losses.png", "student-losses.png"),
    }
    # After the warm-up and after each epoch, for each party.
    assert len(list((finished.folder / "samples").iterdir())) == 2 * 3
    for picture in finished.folder.rglob("*.png"):
        with Image.open(picture) as image:
            assert np.asarray(image).std() > 0


def test_the_summary_has_the_documented_fields(finished: FusionResult) -> None:
    summary = json.loads((finished.folder / "summary.json").read_text())
    assert summary == finished.summary
    assert [one["name"] for one in summary["teachers"]] == ["party-0", "party-1"]
    for entry in (*summary["teachers"], summary["ensemble"], summary["student"], summary["gold_standard"]):
        assert 0 <= entry["accuracy"] <= 100
    assert 0 <= summary["student"]["agreement"] <= 100
    assert summary["seconds"] > 0
    assert (summary["seed"], summary["status"], summary["iterations"]) == (3, "finished", 10)
    assert summary["ensemble"]["macs"] == 2 * summary["student"]["macs"]


def test_the_criteria_of_the_own_exam_are_kept_and_come_out_the_same_again(
    finished: FusionResult, tmp_path: Path
) -> None:
    kept = finished.summary["student"]["criteria"]
    assert list(kept) == list(CRITERIA)
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    del summary["student"]["criteria"]
    (folder / "summary.json").write_text(json.dumps(summary))
    (again,) = rank_runs([folder])
    assert {name: again.criteria[f"own/{name}"] for name in CRITERIA} == kept
    assert again.criteria["common/agreement"] == kept["agreement"]  # A run alone is its own common exam.


def test_the_student_can_be_used_with_nothing_but_its_card(finished: FusionResult) -> None:
    card = json.loads((finished.folder / "student.json").read_text())
    network = build_network(
        card["network"], load_teacher(finished.folder / "student.safetensors").spec
    ).eval()
    network.load_state_dict(load_file(finished.folder / "student.safetensors"))
    test = load(load_config("digits").data)[1]  # type: ignore[arg-type]
    mean, std = (torch.tensor(card[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        hits = network((test.images / 255 - mean) / std).argmax(1) == test.labels
    assert 100 * float(hits.double().mean()) == pytest.approx(
        finished.summary["student"]["accuracy"], abs=1e-3
    )


def test_the_metrics_have_every_loss_term_by_party_and_epoch(finished: FusionResult) -> None:
    table = pq.read_table(finished.folder / "metrics.parquet").to_pylist()
    names = {row["name"] for row in table if row["epoch"] == 2}
    for party in ("party-0", "party-1"):
        assert {f"generator/{party}/{term}" for term in ("adv", "bn", "ice", "bce")} <= names
        assert {f"assistant/{party}/distill", f"assistant/{party}/vid", f"student/{party}/vid"} <= names
        assert f"student/{party}/adv" in names
    assert {"student/distill", "eval/accuracy"} <= names
    assert {row["name"] for row in table if row["epoch"] == 0} == {
        f"warmup/{party}/{term}" for party in ("party-0", "party-1") for term in ("bn", "ice", "bce")
    }
    assert all(np.isfinite(row["value"]) for row in table)


def test_mlflow_has_one_finished_run_with_parameters_curves_pictures_and_the_model(
    finished: FusionResult,
) -> None:
    import mlflow

    uri = f"sqlite:///{finished.folder.parent}/mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("dfmf").experiment_id])
    assert [run.info.run_id for run in runs] == [finished.summary["mlflow_run_id"]]
    run = runs[0]
    assert run.info.status == "FINISHED"
    assert run.data.params["method.alpha"] == "0.1"
    assert run.data.params["schedule.m_ga"] == "5"
    history = client.get_metric_history(run.info.run_id, "generator/party-0/adv")
    assert [(point.step, point.value < 0) for point in history] == [(1, True), (2, True)]
    assert run.data.metrics["final/student_accuracy"] == pytest.approx(
        finished.summary["student"]["accuracy"]
    )
    kept = finished.summary["student"]["criteria"]
    assert run.data.metrics["final/criteria/divergence"] == pytest.approx(kept["divergence"])
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {
        "config.yaml",
        "environment.json",
        "summary.json",
        "metrics.parquet",
        "plots",
        "images",
    } <= artifacts
    connection = sqlite3.connect(finished.folder.parent / "mlflow.db")
    assert (
        connection.execute("select count(*) from metrics where run_uuid = ?", [run.info.run_id]).fetchone()[0]
        > 40
    )


def test_the_logged_model_loads_without_a_pickle_and_predicts_the_same(finished: FusionResult) -> None:
    import mlflow

    from orchestrator.flavor import load_student

    mlflow.set_tracking_uri(f"sqlite:///{finished.folder.parent}/mlflow.db")
    uri = f"runs:/{finished.summary['mlflow_run_id']}/student"
    images = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        expected = load_teacher(finished.folder / "student.safetensors").build()(images).logits
        assert torch.equal(load_student(uri)(images).logits, expected)
    generic = mlflow.pyfunc.load_model(uri)
    np.testing.assert_array_equal(generic.predict(images.numpy()), expected.numpy())
    assert generic.metadata.signature.inputs.inputs[0].shape == (-1, 1, 8, 8)
    folder = Path(mlflow.artifacts.download_artifacts(uri))
    # Every file is text or safetensors: nothing in it can execute.
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {
        ".safetensors",
        ".json",
        "",
        ".txt",
        ".yaml",
    }


def test_evaluate_agrees_with_the_summary(finished: FusionResult) -> None:
    scores = evaluate(str(finished.folder))
    for key in ("ensemble", "gold_standard", "teachers"):
        assert scores[key] == finished.summary[key]
    # Criteria are for where there are no labels.
    assert (
        scores["student"] | {"criteria": finished.summary["student"]["criteria"]}
        == finished.summary["student"]
    )
    alone = evaluate(str(finished.folder / "student.safetensors"), "digits")
    assert alone["student"]["accuracy"] == finished.summary["student"]["accuracy"]


def test_the_same_run_gives_the_same_bits(finished: FusionResult, tmp_path: Path) -> None:
    again = fuse(tiny_run(output=str(tmp_path), name="again", seed=3, tracking={"enabled": False}))
    for name in (
        "student.safetensors",
        "teachers/party-0.safetensors",
        "parties/party-1/generator.safetensors",
    ):
        assert (again.folder / name).read_bytes() == (finished.folder / name).read_bytes()


def test_given_teachers_and_no_data_need_no_labels(finished: FusionResult, tmp_path: Path) -> None:
    paths = [str(finished.folder / "teachers" / f"party-{index}.safetensors") for index in range(2)]
    tree = tiny_run(
        teachers=paths, data=None, pretrain=None, output=str(tmp_path), tracking={"enabled": False}
    )
    result = fuse(tree)
    assert [one["accuracy"] for one in result.summary["teachers"]] == [None, None]
    assert result.summary["student"]["accuracy"] is None
    assert result.summary["student"]["agreement_on"] == "synthetic images"
    assert 0 <= result.summary["student"]["agreement"] <= 100
    assert result.summary["student"]["criteria"]["agreement"] == result.summary["student"]["agreement"]
    assert "gold_standard" not in result.summary
    assert "—" in (result.folder / "MODEL_CARD.md").read_text()


def test_a_fused_student_can_teach_again(finished: FusionResult, tmp_path: Path) -> None:
    teachers = [
        {"path": str(finished.folder / "student.safetensors"), "name": "first"},
        {"path": str(finished.folder / "teachers" / "party-0.safetensors"), "name": "second"},
    ]
    result = fuse(tiny_run(teachers=teachers, output=str(tmp_path), tracking={"enabled": False}))
    assert result.summary["status"] == "finished"


def test_pretraining_alone_leaves_teachers_that_a_fusion_takes(
    finished: FusionResult, tmp_path: Path
) -> None:
    result = pretrain(tiny_run(output=str(tmp_path), seed=3))
    assert (result.folder / "teachers" / "party-0.safetensors").read_bytes() == (
        finished.folder / "teachers" / "party-0.safetensors"
    ).read_bytes()
    assert "student" not in result.summary


def test_pretraining_that_was_stopped_is_gone_on_with(
    finished: FusionResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = schooling.write_teacher

    def stopped(*arguments: Any) -> Any:
        result = written(*arguments)
        if result.name == "party-0":
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(schooling, "write_teacher", stopped)
    with pytest.raises(Interrupted) as error:
        pretrain(tiny_run(output=str(tmp_path), name="taught", seed=3))
    folder = tmp_path / "taught"
    assert str(error.value) == f"stopped; to go on: dfmf pretrain --resume {folder}"
    monkeypatch.undo()
    first = (folder / "teachers" / "party-0.safetensors").stat().st_mtime_ns
    result = pretrain(resume=folder)
    assert (result.folder, result.summary["status"]) == (folder, "finished")
    assert (folder / "teachers" / "party-0.safetensors").stat().st_mtime_ns == first
    assert (folder / "teachers" / "party-1.safetensors").read_bytes() == (
        finished.folder / "teachers" / "party-1.safetensors"
    ).read_bytes()
    shown = CliRunner().invoke(app, ["pretrain", "--resume", str(folder)])
    teachers = ", ".join(str(folder / "teachers" / f"party-{index}.safetensors") for index in (0, 1))
    assert f"fuse them with: dfmf fuse {folder}/config.yaml 'teachers=[{teachers}]'\n" in shown.output
    assert pretrain(resume=folder).summary == result.summary


def test_teachers_without_batch_norm_are_said_and_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fusion.teachers import save_teacher

    for index in range(2):
        save_teacher(teacher(index, "alexnet"), tmp_path / f"t{index}.safetensors")
    paths = [str(tmp_path / f"t{index}.safetensors") for index in range(2)]
    tree = tiny_run(
        teachers=paths, data=None, pretrain=None, output=str(tmp_path / "runs"), tracking={"enabled": False}
    )
    fuse(tree)
    said = capsys.readouterr().out
    assert "party-0 has no BatchNorm: its generator is trained without the BN loss" in said
    assert "warning: no teacher has BatchNorm" in said


def refused(tmp_path: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as error:
        fuse(tiny_run(**({"output": str(tmp_path / "runs"), "tracking": {"enabled": False}} | changes)))
    left = list((tmp_path / "runs").glob("*/*")) if (tmp_path / "runs").exists() else []
    assert left == []
    assert "\n" not in str(error.value)
    return str(error.value)


def test_teachers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    import dataclasses

    from fusion.teachers import save_teacher

    other = {
        "size": dataclasses.replace(SPEC, size=16),
        "channels": dataclasses.replace(SPEC, channels=3, mean=(0.1,) * 3, std=(0.1,) * 3),
        "strange": dataclasses.replace(SPEC, classes=("A", "B", "C")),
        "same": SPEC,
    }
    save_teacher(teacher(0, name="A"), tmp_path / "a.safetensors")
    for name, spec in other.items():
        save_teacher(teacher(1, spec=spec, name="B"), tmp_path / f"{name}.safetensors")

    def with_second(name: str, **changes: Any) -> str:
        paths = [str(tmp_path / "a.safetensors"), str(tmp_path / f"{name}.safetensors")]
        return refused(tmp_path, teachers=paths, pretrain=None, **({"data": None} | changes))

    assert with_second("size") == "teachers.1: B takes 1x16x16 images, A 1x8x8"
    assert with_second("channels") == "teachers.1: B takes 3x8x8 images, A 1x8x8"
    assert with_second("strange").startswith("teachers.0: no other teacher knows a class of A (a, b, c, d);")
    assert with_second("a") == "teachers.1.name: 'A' is taken; every party needs a name of its own"
    assert "teachers.1.source" in with_second("gone")
    assert with_second("same", data={"source": "digits"}).startswith("data: it has no class 'a', which the")
    assert "images are 1x16x16" in with_second("same", data={"source": "digits", "image_size": 16})


def test_what_cannot_be_written_or_is_there_is_refused(tmp_path: Path, finished: FusionResult) -> None:
    with pytest.raises(UserError, match=r"name: .*one already holds a run"):
        fuse(tiny_run(output=str(finished.folder.parent), name="one"))
    assert "output: cannot write to" in refused(tmp_path, output="/proc/dfmf")
    (tmp_path / "file").write_text("")
    assert "output: cannot write to" in refused(tmp_path, output=str(tmp_path / "file" / "runs"))


def test_data_that_is_not_there_is_refused(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.parquet")
    assert refused(tmp_path, data={"source": "parquet", "train": gone, "test": gone}).startswith(
        f"data: {gone}"
    )
    assert "data: " in refused(tmp_path, data={"source": "fashion-mnist", "root": "/proc/nothing"})


def test_an_unreachable_tracking_server_is_said_before_work_starts(tmp_path: Path) -> None:
    message = refused(tmp_path, tracking={"uri": "http://127.0.0.1:9"})
    assert message.startswith("tracking.uri: cannot reach http://127.0.0.1:9")


def test_a_store_of_another_schema_is_said_before_work_starts(tmp_path: Path, finished: FusionResult) -> None:
    copy = other_schema(finished.folder.parent / "mlflow.db", tmp_path)
    message = refused(tmp_path, tracking={"uri": f"sqlite:///{copy}"})
    assert message.startswith(
        f"tracking.uri: sqlite:///{copy} has another schema than the MLflow here (found"
    )
