"""What stands in a cell of a reproduced table, and which run that is."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from orchestrator import reproducing
from orchestrator.reproducing import Order
from orchestrator.reproducing.layout import Line
from orchestrator.reproducing.results import filled
from orchestrator.reproducing.scales import base_of
from orchestrator.reproducing.tables import TABLES, TITLES, parts_of
from orchestrator.reproducing.writing import csv
from orchestrator.sweep.space import Space, with_values
from orchestrator.sweep.study import trial_name
from orchestrator.sweep.wishes import prepared
from tests.fused import scores, write_run
from tests.tiny import SHORT_TABLE


def test_a_cell_is_read_from_its_runs(tmp_path: Path) -> None:
    (part,) = parts_of("dfmf-s1", "digits")
    part = dataclasses.replace(part, distances={})
    row, column = Line("m_ga_5", {"schedule.m_ga": 5}), Line("r3", {})
    space = Space(cases={"m_ga_5_r3": row.values}, seeds=2)
    for seed in (4, 5):
        place = tmp_path / "trials" / trial_name(space, row.values, seed)
        write_run(place, seed=seed, accuracy=80.0 + seed, gold_standard=scores(99.0))
        (place / "transfer_set.json").write_text(json.dumps({"hausdorff": {"a": 2.0, "b": 1.0 + seed}}))
    found = filled(part, tmp_path, space, [row], [column], [4, 5])
    cell, gold = found.cells["m_ga_5", "r3"], found.cells["gold_standard", "r3"]
    assert (cell.spreads[0].mean, cell.seconds, found.seconds) == (84.5, 64.5, 129.0)
    assert cell.distance is not None and cell.distance.mean == 3.75  # (2 + 5) / 2 and (2 + 6) / 2
    assert [one.mean for one in gold.spreads] == [99.0]
    assert "teachers_1,r3,70.0,0.0,2,4:70 5:70" in csv([found])


def test_rows_are_what_they_are_called() -> None:
    def made(table: str) -> dict[str, Any]:
        config = base_of(parts_of(table, "digits")[0], ())
        return {
            row.key: with_values(prepared(config), row.values, "row") for row in TABLES[table].rows(config)
        }

    assert {TITLES[key]: one.assistant for key, one in made("dfmf-3").items()} == {
        "DFMF (GA=T)": "teacher",
        "DFMF (GA=S)": "student",
    }
    assert {TITLES[key]: one.schedule.m_ga for key, one in made("dfmf-s1").items()} == {
        "M_GA = 5": 5,
        "M_GA = 10": 10,
    }


def test_seeds_begin_with_the_configurations(tmp_path: Path) -> None:
    asked = Order(
        table="dfmf-2", seeds=2, rows=("dfmf",), overrides=(*SHORT_TABLE, f"output={tmp_path}", "seed=5")
    )
    assert reproducing._studies(asked)[0].seeds == [5, 6]
