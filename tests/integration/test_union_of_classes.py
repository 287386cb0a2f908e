"""Teachers of different classes: from one configuration to the student, its scores, and its audit."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fusion.teachers import load_teacher, save_teacher
from orchestrator import UserError, evaluate, fuse
from orchestrator.auditing import audit
from orchestrator.dry_run import describe
from orchestrator.run_parts import FusionResult
from tests.tiny import tiny_run

CLASSES = [[4, 5, 6, 7, 8, 9], ["0", "1", "2", "3", "4", "5"]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FusionResult:
    torch.set_num_threads(1)
    run = tiny_run(output=str(tmp_path_factory.mktemp("runs")), name="union", tracking={"enabled": False})
    assert isinstance(run["pretrain"], dict)
    run["pretrain"] |= {"split": "balanced", "classes": CLASSES, "canaries": 5}
    return fuse(run | {"weights": "confidence"})


def test_the_student_knows_the_union_in_order_of_appearance(finished: FusionResult) -> None:
    card = json.loads((finished.folder / "student.json").read_text())
    assert card["classes"] == list("4567890123")
    assert load_file(finished.folder / "student.safetensors")["fc.weight"].shape[0] == 10
    own = [load_teacher(finished.folder / "teachers" / f"party-{index}.safetensors") for index in (0, 1)]
    assert [list(one.spec.classes) for one in own] == [list("456789"), list("012345")]


def test_every_score_is_over_the_union(finished: FusionResult) -> None:
    first, second = finished.summary["teachers"]
    for one, unknown in ((first, slice(6, 10)), (second, slice(2, 6))):
        assert one["per_class"][unknown] == [None] * 4
        assert sum(value is None for value in one["per_class"]) == 4
        # A teacher is wrong on four classes of ten.
        assert one["accuracy"] == pytest.approx(0.6 * one["accuracy_on_own_classes"], abs=3)
    assert "accuracy_on_own_classes" not in finished.summary["student"]
    assert len(finished.summary["student"]["per_class"]) == 10
    assert finished.summary["ensemble"]["accuracy"] > max(first["accuracy"], second["accuracy"])


def test_a_later_evaluation_finds_the_same(finished: FusionResult) -> None:
    found = evaluate(str(finished.folder))
    assert found["classes"] == list("4567890123")
    for name in ("ensemble", "teachers"):
        assert found[name] == finished.summary[name]
    # What it was examined on without labels is not made again.
    assert (
        found["student"] | {"criteria": finished.summary["student"]["criteria"]}
        == finished.summary["student"]
    )


def test_an_audit_measures_each_teacher_on_its_own_classes(finished: FusionResult) -> None:
    report = audit(str(finished.folder), "audit.steps=2", data=True)
    assert [len(one["norms"]) for one in report["classifiers"]] == [6, 6, 10]
    leakage = report["membership"]
    assert [one["canaries"]["members"] for one in leakage["teachers"]] == [5, 5]
    assert all(one["members"]["auc"] > 0.3 for one in (*leakage["teachers"], leakage["student"]))


def test_a_map_makes_strangers_agree_and_the_dry_run_counts(finished: FusionResult, tmp_path: Path) -> None:
    paths = [finished.folder / "teachers" / f"party-{index}.safetensors" for index in (0, 1)]
    other = load_teacher(paths[1])
    names = {name: f"digit {name}" for name in other.spec.classes}
    strange = dataclasses.replace(other.spec, classes=tuple(names.values()))
    save_teacher(dataclasses.replace(other, spec=strange), tmp_path / "b.safetensors")
    back = {name: original for original, name in names.items()}
    run = tiny_run(
        teachers=[str(paths[0]), {"path": str(tmp_path / "b.safetensors"), "label_map": back}],
        output=str(tmp_path / "runs"),
        name="mapped",
        tracking={"enabled": False},
    )
    run.pop("pretrain")
    (tmp_path / "run.yaml").write_text(json.dumps(run))
    assert "memory" in describe(str(tmp_path / "run.yaml"), [])
    summary = fuse(run).summary
    # What the teachers say does not depend on what their classes were called on the way.
    assert [one["accuracy"] for one in summary["teachers"]] == [
        one["accuracy"] for one in finished.summary["teachers"]
    ]
    found = evaluate(str(tmp_path / "runs" / "mapped"))["student"]
    assert found | {"criteria": summary["student"]["criteria"]} == summary["student"]
    with pytest.raises(UserError, match=r"^teachers\.0: no other teacher knows a class of party-0"):
        fuse(run | {"teachers": [str(paths[0]), str(tmp_path / "b.safetensors")]})
