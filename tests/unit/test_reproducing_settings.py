"""The settings of DFMF's tables, at scale paper as the paper prints them."""

import dataclasses
from typing import Any, cast

import pytest
import torch

from fusion.generator import DfqGenerator, GeneratorSettings
from fusion.method import Contrasting
from orchestrator.reproducing.published_dfmf import TABLE_2_CIFAR10, TABLE_2_CIFAR100
from orchestrator.reproducing.scales import base_of
from orchestrator.reproducing.tables import DFMF_TABLES, TABLES, all_methods, parts_of
from orchestrator.sweep.space import with_values
from orchestrator.sweep.wishes import prepared
from tests.paper_tables import made_of, rows_of
from tests.tiny import SPEC


@pytest.mark.parametrize("table", DFMF_TABLES)
@pytest.mark.parametrize("scale", ["digits", "fashion-mnist", "cifar", "paper"])
def test_every_cell_of_dfmfs_tables_is_a_valid_configuration(table: str, scale: Any) -> None:
    for part in parts_of(table, scale):
        config = base_of(part, ())
        rows, columns = rows_of(table, part), TABLES[table].columns(config)
        for row in rows:
            for column in columns:
                made = with_values(prepared(config), {**row.values, **column.values}, "cell")
                assert made.pretrain is not None
                assert made.pretrain.split == ("balanced" if column.key == "balanced" else "imbalanced")
        measured = {row.key for row in rows} - {"gold_standard"}
        printed = {row for row, _ in part.published}
        assert printed & measured
        assert {column for _, column in part.published} == {column.key for column in columns}


def test_at_scale_paper_the_settings_are_the_papers() -> None:
    """Section 4.1, as printed."""
    for table, data in (
        ("dfmf-2", ["cifar10", "cifar100"]),
        ("dfmf-3", ["cifar100"]),
        ("dfmf-s1", ["cifar10"]),
    ):
        parts = parts_of(table, "paper")
        assert [base_of(part, ()).data.source for part in parts] == data  # type: ignore[union-attr]
        for part in parts:
            assert bool(part.differs) == (table == "dfmf-2")
            tree = prepared(base_of(part, ()))
            assert tree["schedule"] == {
                "warmup_epochs": 50,
                "epochs": 200,
                "iterations_per_epoch": 400,
                "m_ga": 5,
                "m_s": 10,
                "batch_size": 256,
                "teachers_per_batch": None,
            }
            assert tree["optimisation"] == {
                "student_lr": 0.05,
                "assistant_lr": 0.05,
                "momentum": 0.9,
                "generator_lr": 1e-3,
                "generator_beta1": 0.5,
                "weight_decay": 0.0,
            }
            method = tree["method"]
            assert (method["alpha"], method["beta"], method["tau"]) == (0.1, 1.0, 3.0)
            assert method["distill_scale"] == "one"
            assert tree["weights"] == "uniform"
            assert tree["pretrain"]["parties"] == 2
            assert tree["pretrain"]["recipe"] == {
                "epochs": 200,
                "batch_size": 256,
                "lr": 0.1,
                "milestones": [80, 120],
                "momentum": 0.9,
                "weight_decay": 5e-4,
                "crop_padding": 4,
                "flip": 0.5,
            }
            augmentation = tree["augmentation"]
            assert (augmentation["rotation"], augmentation["flip"]) == (10, 0.5)
            networks = ["resnet18", "resnet34"] if table == "dfmf-3" else ["resnet18"]
            student = "resnet50" if table == "dfmf-3" else "resnet18"
            assert (tree["pretrain"]["networks"], tree["student"]) == (networks, student)
    (cifar10, _) = parts_of("dfmf-2", "paper")
    columns = [column.values for column in TABLES["dfmf-2"].columns(base_of(cifar10, ()))]
    assert columns == [{"pretrain.split": "balanced"}, {"pretrain.split": "imbalanced", "pretrain.r": 3.0}]
    rows = {row.key: row.values for row in all_methods(base_of(cifar10, ()))}
    assert rows["dfq_no_adv"]["schedule.warmup_epochs"] == 250
    made = with_values(prepared(base_of(cifar10, ())), rows["dfq"], "dfq")
    assert made.method.distill_scale == "one"  # Of all methods, not of DFMF alone.


def test_at_scale_paper_cmi_has_the_hyperparameters_of_the_repository_that_the_paper_names() -> None:
    """Section 4.1; and zju-vipa/Fast-Datafree, scripts/cmi_cifar.sh and what datafree_kd.py gives to it."""
    for table, names in (("dfmf-2", ("cmi", "cmi_ga")), ("dfmf-4", ("cmi_ga",))):
        for part in parts_of(table, "paper"):
            found = made_of(table, part)
            for name in names:
                schedule, method = found[name].schedule, cast(Contrasting, found[name].method)
                assert (schedule.epochs, schedule.batch_size, schedule.warmup_epochs) == (200, 256, 0)
                assert schedule.iterations_per_epoch * schedule.m_s == 400  # --kd_steps, --ep_steps
                assert schedule.iterations_per_epoch * schedule.m_ga == 200
                assert schedule.iterations_per_epoch == method.inversion_every  # A batch an epoch.
                optimisation = found[name].optimisation
                assert (optimisation.student_lr, optimisation.weight_decay) == (0.1, 1e-4)  # --lr, --wd
                assert (optimisation.generator_lr, optimisation.generator_beta1) == (1e-3, 0.5)  # --lr_g
                assert (method.tau, method.distill_scale, method.adv_tau) == (20, "tau_squared", 1)  # --T
                assert (method.label_weight, method.bn_weight) == (1.0, 1.0)  # --oh, --bn
                assert (method.adv_weight, method.contrast_weight) == (0.5, 0.8)  # --adv, --cr
                assert (method.contrast_temperature, method.contrast_images) == (0.2, 4096)  # --cr_T, n_neg
                assert (method.inversion_steps, method.embedding_dim) == (200, 256)  # --g_steps, head_dim
                assert (found[name].generator.latent_dim, method.beta) == (256, 0)  # nz, and no VID
                assert method.bank_images == (51_200 if table == "dfmf-2" else 10_240)  # All; or it is said.
            assert "CMI has in the paper" in part.differs
            assert ("they are the newest 10,240" in part.differs) == (table == "dfmf-4")
            assert "ZSKT has the same N_warm-up" in part.differs or "zskt" not in found
            dfmf = found["dfmf"]
            assert (dfmf.schedule.iterations_per_epoch, dfmf.method.tau) == (400, 3.0)
            assert (dfmf.optimisation.student_lr, dfmf.optimisation.weight_decay) == (0.05, 0.0)
            assert dfmf.generator.latent_dim == 512
    (digits,) = parts_of("dfmf-2", "digits")
    assert digits.rows == {}  # As the smaller scales were measured.


def test_at_scale_paper_the_dogs_are_the_papers_but_for_what_is_said() -> None:
    for part, parties in zip(parts_of("dfmf-4", "paper"), (2, 4), strict=True):
        tree = prepared(base_of(part, ()))
        recipe = tree["pretrain"]["recipe"]
        assert tree["pretrain"]["parties"] == parties
        assert tree["data"]["image_size"] == 224
        assert (recipe["epochs"], recipe["batch_size"], recipe["lr"]) == (200, 64, 0.01)
        assert recipe["milestones"] == [50, 100, 150]
        assert tree["schedule"]["epochs"] == 200
        assert "ImageNet" in part.differs
        assert "five for 224 pixels" in part.differs
        spec = dataclasses.replace(SPEC, size=224)
        with torch.device("meta"):
            assert len(DfqGenerator(GeneratorSettings(), spec).convolutions) == 5
        columns = TABLES["dfmf-4"].columns(base_of(part, ()))
        assert [one.values.get("pretrain.r") for one in columns] == [None, 3.0, 10.0, 20.0]


@pytest.mark.parametrize(
    ("numbers", "column", "expected"),
    [
        (TABLE_2_CIFAR10, "balanced", 48),
        (TABLE_2_CIFAR10, "r3", 68),
        (TABLE_2_CIFAR100, "balanced", 33),
        (TABLE_2_CIFAR100, "r3", 54),
    ],
)
def test_published_numbers_close_the_gaps_that_docs_results_says(
    numbers: Any, column: str, expected: int
) -> None:
    best = max(float(one) for one in numbers["teachers", column].split(" / "))
    student = float(numbers["dfmf", column].split(" ± ")[0])
    closed = 100 * (student - best) / (float(numbers["teacher_ensemble", column]) - best)
    assert round(closed) == expected
