"""How many points a sweep has, and how many it says that it has."""

from pathlib import Path
from typing import Any

from orchestrator.loading import parse_config
from orchestrator.sweep.points import Point, in_words, known_points
from orchestrator.sweep.space import load_space
from orchestrator.sweep.study import Study
from orchestrator.sweep.wishes import prepared
from tests.tiny import tiny_run


def study(**changes: Any) -> Study:
    chosen: dict[str, Any] = {
        "folder": Path("/sweep"),
        "space_name": "m_ga",
        "space": load_space("m_ga"),
        "base": prepared(parse_config(tiny_run(), "base")),
        "seeds": [0, 1, 2],
        "search": "random",
        "scheduler": "none",
        "samples": 8,
        "concurrent": 2,
        "plan": None,
        "gpus": 0.0,
        "parent": None,
    }
    return Study(**(chosen | changes))


def test_what_is_drawn_twice_is_one_point() -> None:
    some = study()
    points = known_points(some)
    values = {point.parameters["schedule.m_ga"] for point in points}
    assert len({point.name for point in points}) == len(points) == 3 * len(values)
    assert len(values) < some.samples
    assert in_words(some, points) == f"{len(values)} points (of 8 draws) x 3 seeds"


def test_members_of_a_population_may_begin_alike() -> None:
    members = study(scheduler="pbt", seeds=[0])
    points = known_points(members)
    assert (len(points), in_words(members, points)) == (8, "8 members")


def test_a_grid_an_optimiser_and_several_orders_say_what_they_have() -> None:
    grid, one_seed = study(search="grid", samples=0), study(search="grid", samples=0, seeds=[0])
    assert in_words(grid, known_points(grid)) == "4 points x 3 seeds"
    assert in_words(one_seed, known_points(one_seed)) == "4 points x 1 seed"
    assert in_words(study(search="optuna"), []) == "8 points x 3 seeds"
    more = [*known_points(one_seed), Point("other", {"schedule.m_ga": 7}, 1)]
    assert in_words(grid, more) == "5 trials"
