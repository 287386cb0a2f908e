"""Which rows of a paper's table an override is for, and what is refused; without Ray."""

from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.errors import UserError
from orchestrator.reproducing import Order, reproduce
from orchestrator.reproducing.overriding import check_reach
from orchestrator.reproducing.scales import base_of
from orchestrator.reproducing.tables import parts_of
from orchestrator.sweep import driving
from tests.paper_tables import made_of, rows_of, short_order, stops_after


def test_an_override_is_for_all_rows_also_where_it_says_the_default_of_the_tables_method() -> None:
    (part,) = parts_of("dfmf-2", "digits")
    assert {name: one.method.beta for name, one in made_of("dfmf-2", part).items() if name != "dfmf"} == {
        **dict.fromkeys(("dfq", "dfq_no_adv", "dafl", "zskt", "nayer", "fast"), 1.0),
        **dict.fromkeys(("deepinversion", "adaptive_deepinversion", "cmi", "cmi_ga", "vanilla_kd"), 0.0),
    }
    named = made_of("dfmf-2", part, "method.beta=1", "method.alpha=0.5")
    assert {one.method.beta for one in named.values()} == {1.0}
    section = made_of("dfmf-2", part, "method={name: dfmf, tau: 3, beta: 0.5}")
    assert {(one.method.tau, one.method.beta) for one in section.values()} == {(3.0, 0.5)}


def test_an_override_is_for_rows_with_settings_of_their_own_too() -> None:
    part, _ = parts_of("dfmf-2", "paper")
    changed = ("schedule={iterations_per_epoch: 5}", "optimisation.student_lr=0.05", "method.tau=3")
    found = made_of("dfmf-2", part, *changed)
    assert {one.schedule.iterations_per_epoch for one in found.values()} == {5}
    assert {one.optimisation.student_lr for one in found.values()} == {0.05}
    assert {one.method.tau for one in found.values()} == {3.0}
    assert found["cmi"].optimisation.weight_decay == 1e-4  # Which nobody named.


@pytest.mark.parametrize(
    ("table", "rows", "override", "expected"),
    [
        ("dfmf-2", ("cmi",), "method.alpha=0.5", "method.alpha: is for rows of method 'dfmf', and none"),
        ("dfmf-2", ("cmi", "dfq"), "method={alpha: 0.5}", "none is asked for (dfq, cmi)"),
        ("nayer-6", ("fast",), "method.restart_every=5", "is for rows of method 'nayer'"),
    ],
)
def test_an_override_that_is_for_none_of_the_rows_is_refused(
    tmp_path: Path, table: str, rows: tuple[str, ...], override: str, expected: str
) -> None:
    asked = Order(table=table, rows=rows, overrides=(override, f"output={tmp_path / 'runs'}"))
    with pytest.raises(UserError) as caught:
        reproduce(asked, Console(quiet=True))
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_an_override_that_is_for_one_of_the_rows_is_taken() -> None:
    for table, rows, key in (
        ("dfmf-2", ("cmi", "dfmf"), "method.alpha"),
        ("dfmf-2", ("cmi",), "method.beta"),
        ("nayer-6", ("fast",), "method.inversion_every"),
    ):
        (part,) = parts_of(table, "digits")
        asked = [(row, base_of(part, ())) for row in rows_of(table, part) if row.key in rows]
        check_reach({key, "schedule.epochs"}, asked)


def test_a_cell_that_was_begun_with_other_values_is_not_taken_for_the_same(
    tmp_path: Path, without_ray: pytest.MonkeyPatch
) -> None:
    asked = {"rows": ("vanilla_kd",), "columns": ("r3",)}
    alike = ("method.distill_scale=tau_squared",)  # Both have it anyway.
    without_ray.setattr(driving, "run_trials", stops_after(1))
    table = reproduce(short_order(tmp_path, **asked), Console(quiet=True)).folder / "table.md"
    written = table.read_text()
    with pytest.raises(UserError, match=r"_kd_r3, is of another configuration: method.beta: 0.0 there, 1.0"):
        reproduce(short_order(tmp_path, "method.beta=1", **asked), Console(quiet=True))
    assert table.read_text() == written
    without_ray.setattr(driving, "run_trials", stops_after(0))
    reproduce(short_order(tmp_path, *alike, **asked), Console(quiet=True))  # The same, in more words.


def test_what_a_rows_method_does_not_take_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    overrides = ("pretrain.networks=[alexnet]", f"output={tmp_path / 'runs'}")
    asked = Order(table="dfmf-2", rows=("dfmf", "nayer"), overrides=overrides)
    with pytest.raises(UserError, match=r"^method\.bn_weight: must be 0 for method 'nayer' with party-0"):
        reproduce(asked, Console(quiet=True))
    assert not (tmp_path / "runs").exists()
