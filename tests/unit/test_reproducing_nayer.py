"""NAYER's tables: what they run, at which settings, with one teacher; without Ray."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from orchestrator import reproducing
from orchestrator.config import RunConfig
from orchestrator.errors import Interrupted, UserError
from orchestrator.reproducing import Order, reproduce
from orchestrator.reproducing.published_nayer import TABLE_6, TABLE_8_CIFAR10, TABLE_8_CIFAR100
from orchestrator.reproducing.scales import base_of
from orchestrator.reproducing.tables import TABLES, parts_of
from orchestrator.sweep import driving
from orchestrator.sweep.space import with_values
from orchestrator.sweep.wishes import prepared
from tests.paper_tables import stops_after, without_cluster
from tests.tiny import SHORT_TABLE

SHORT = (*SHORT_TABLE, "schedule.warmup_epochs=0")


def order(folder: Path, table: str, *overrides: str, **changes: Any) -> Order:
    chosen = {"table": table, "seeds": 1, **changes}
    steps = ("method.inversion_steps=2",) if table == "nayer-8" else ()  # Which nayer-6 varies itself.
    return Order(overrides=(*SHORT, *steps, f"output={folder}", *overrides), **chosen)


def lines(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (folder / "table.csv").open(encoding="utf-8") as file:
        return {(one["row"], one["column"]): one for one in csv.DictReader(file)}


@pytest.mark.parametrize("table", ["nayer-6", "nayer-8"])
@pytest.mark.parametrize("scale", ["digits", "fashion-mnist", "cifar", "paper"])
def test_every_cell_is_a_valid_configuration_of_one_teacher(table: str, scale: Any) -> None:
    for part in parts_of(table, scale):
        config = base_of(part, ("method.embeddings=names.npy",))
        rows, columns = TABLES[table].rows(config), TABLES[table].columns(config)
        for row in rows:
            for column in columns:
                made = with_values(prepared(config), {**row.values, **column.values}, "cell")
                assert (made.num_parties, made.schedule.warmup_epochs) == (1, 0)
                assert made.method.beta == 0  # Of all rows: plain distillation.
        assert {row.key for row in rows} <= {row for row, _ in part.published}
        assert {column for _, column in part.published} == {column.key for column in columns}


@pytest.mark.parametrize(
    ("override", "every", "batch", "kept"),
    [
        ((), 20, 400, 240_000),  # The supplement's 300 epochs of 2 batches of 400: nothing is thrown away.
        (("method.inversion_every=7", "method.bank_images=600"), 7, 400, 600),
        (("method.inversion_batch=null",), 20, None, 240_000),
    ],
)
def test_both_rows_of_table_6_make_and_keep_as_many_images(
    override: tuple[str, ...], every: int, batch: int | None, kept: int
) -> None:
    config = base_of(parts_of("nayer-6", "paper")[0], override)
    made = [with_values(prepared(config), row.values, "row") for row in TABLES["nayer-6"].rows(config)]
    methods: list[Any] = [one.method for one in made]
    assert [one.name for one in methods] == ["fast", "nayer"]
    for one in methods:
        assert (one.inversion_every, one.inversion_batch, one.bank_images) == (every, batch, kept)
    assert {one.generator.layout for one in made} == {"nayer"}


def test_at_scale_paper_the_settings_are_the_supplements_but_for_what_is_said() -> None:
    """Its Section A, and its Tables 1 and 3."""
    parts = [*parts_of("nayer-6", "paper"), *parts_of("nayer-8", "paper")]
    steps = {"cifar10": 30, "cifar100": 40}
    assert [part.name for part in parts] == ["cifar100", "cifar10", "cifar100"]
    for part in parts:
        config = base_of(part, ())
        assert config.data is not None
        assert config.pretrain is not None
        assert config.data.source == part.name
        schedule, optimisation, recipe = config.schedule, config.optimisation, config.pretrain.recipe
        assert (schedule.epochs, schedule.batch_size) == (300, 512)
        assert schedule.iterations_per_epoch * schedule.m_s == 400  # S.
        assert (optimisation.student_lr, optimisation.momentum, optimisation.generator_lr) == (0.1, 0.9, 4e-3)
        assert (recipe.epochs, recipe.batch_size, recipe.lr) == (200, 128, 0.1)
        assert (recipe.momentum, recipe.weight_decay) == (0.9, 5e-4)
        assert (config.generator.layout, config.generator.latent_dim) == ("nayer", 1000)
        assert config.generator.output == "batchnorm"
        method: Any = config.method
        assert method.inversion_batch == 400
        assert schedule.iterations_per_epoch / method.inversion_every == 2  # I.
        assert method.inversion_steps == steps[part.name]  # g.
        assert method.bank_images == 300 * 2 * 400  # All that are ever made.
        assert (method.label_weight, method.bn_weight, method.adv_weight) == (0.5, 10, 1.33)
        assert (config.pretrain.networks, config.student) == (("wrn-40-2",), "wrn-16-2")
        assert "cosine" in part.differs


def test_the_published_numbers_agree_where_tables_have_the_same_runs() -> None:
    assert TABLE_6["nayer", "g40"] == TABLE_8_CIFAR100["nayer_lte", "student"] == "71.72"
    assert (TABLE_6["fast", "g2"], TABLE_6["fast", "g50"]) == ("57.08", "68.18")
    assert TABLE_8_CIFAR10["nayer_one_hot", "student"] == "93.72"
    assert TABLE_8_CIFAR10["spaceshipnet", "student"] == "93.25"
    better = [column for row, column in TABLE_6 if row == "nayer"]
    assert all(float(TABLE_6["nayer", one]) > float(TABLE_6["fast", one]) for one in better)


def test_embeddings_are_measured_where_there_are_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_cluster(monkeypatch)
    monkeypatch.setattr(driving, "run_trials", stops_after(3))
    quiet = Console(quiet=True)
    folder = reproduce(order(tmp_path, "nayer-8"), quiet).folder
    found = lines(folder)
    assert float(found["nayer_one_hot", "student"]["accuracy_mean"]) > 0
    assert found["nayer_lte", "student"]["accuracy_mean"] == ""
    assert found["nayer_lte", "student"]["published"] == "94.07"
    page = (folder / "table.md").read_text()
    assert "`method.embeddings=FILE.npy name=ANOTHER`" in page
    assert "| SpaceshipNet | - | 93.25 | - |" in page
    assert "; 1 teacher (resnet8-w8)" in page

    np.save(tmp_path / "names.npy", np.random.default_rng(0).normal(size=(10, 6)))
    named = f"method.embeddings={tmp_path / 'names.npy'}"
    other = reproduce(order(tmp_path, "nayer-8", named, "name=other"), quiet).folder
    assert other == tmp_path / "other"
    found = lines(other)
    assert float(found["nayer_lte", "student"]["accuracy_mean"]) > 0
    assert "FILE.npy" not in (other / "table.md").read_text()
    runs = other / "digits" / "trials"
    assert "names.npy" in (runs / "nayer_lte_student_seed-0" / "config.yaml").read_text()
    assert "names.npy" not in (runs / "nayer_one_hot_student_seed-0" / "config.yaml").read_text()


def test_table_6_says_that_its_nayer_has_one_hot_vectors_unless_it_has_embeddings() -> None:
    (part,) = parts_of("nayer-6", "paper")
    note = TABLES["nayer-6"].note
    assert "here it has one-hot vectors: a difference of 71.72 to 70.78" in note(base_of(part, ()))
    assert (TABLE_8_CIFAR100["nayer_lte", "student"], TABLE_8_CIFAR100["nayer_one_hot", "student"]) == (
        *("71.72", "70.78"),
    )
    assert note(base_of(part, ("method.embeddings=names.npy",))) == ""


def test_embeddings_of_one_parts_classes_are_not_asked_of_the_other(tmp_path: Path) -> None:
    fitted = TABLES["nayer-8"].fitted
    for count, expected in ((10, ["cifar10"]), (100, ["cifar100"]), (7, ["cifar10", "cifar100"])):
        np.save(tmp_path / "names.npy", np.zeros((count, 3)))
        override = f"method.embeddings={tmp_path / 'names.npy'}"
        configs = [
            (part.name, fitted(part, base_of(part, (override,)))) for part in parts_of("nayer-8", "paper")
        ]
        with_row = [name for name, config in configs if len(TABLES["nayer-8"].rows(config)) == 2]
        assert with_row == expected  # Where the number is nobody's, the run's own check says so.


def test_a_part_without_any_of_the_rows_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(config: RunConfig, *_: object, **__: object) -> None:
        asked.append(str(config.name))
        raise Interrupted("stopped")

    monkeypatch.setattr(reproducing, "check_runs", lambda *_: None)
    monkeypatch.setattr(driving, "run_space", refuse)
    np.save(tmp_path / "names.npy", np.zeros((100, 3)))
    override = f"method.embeddings={tmp_path / 'names.npy'}"
    with pytest.raises(Interrupted):
        reproduce(
            order(tmp_path, "nayer-8", override, scale="paper", rows=("nayer_lte",)), Console(quiet=True)
        )
    assert asked == ["cifar100"]


def test_embeddings_that_do_not_fit_are_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_cluster(monkeypatch)
    np.save(tmp_path / "names.npy", np.zeros((7, 3)))
    asked = order(tmp_path / "runs", "nayer-8", f"method.embeddings={tmp_path / 'names.npy'}")
    with pytest.raises(UserError, match=r"method\.embeddings: .*names\.npy: 7 vectors for 10 classes"):
        reproduce(asked, Console(quiet=True))
    assert not list((tmp_path / "runs").glob("nayer-8*"))


def test_fm_and_nayer_are_run_with_one_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_cluster(monkeypatch)
    monkeypatch.setattr(driving, "run_trials", stops_after(1))
    folder = tmp_path / "nayer-6-digits"
    for row, published, left in (("fast", "57.08", 6), ("nayer", "59.23", 12)):  # What was begun stays in.
        with pytest.raises(Interrupted):
            reproduce(order(tmp_path, "nayer-6", rows=(row,)), Console(quiet=True))
        assert f"Runs still to do: {left}; the command above goes on." in (folder / "table.md").read_text()
        cell = lines(folder)[row, "g2"]
        assert float(cell["accuracy_mean"]) > 0
        assert cell["published"] == published
        config = (folder / f"digits/trials/{row}_g2_seed-0/config.yaml").read_text()
        assert "inversion_steps: 2\n" in config
        assert "parties: 1\n" in config
