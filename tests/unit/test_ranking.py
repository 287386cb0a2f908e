"""Ranks, the choice, and how it is judged, worked by hand."""

from pathlib import Path

import pytest

from orchestrator.ranking import DEFAULT, RANKABLE, Record, choose, judge, mean_ranks, seed_ranks, spearman


def record(seed: int, configuration: str, value: float | None, by: str = DEFAULT) -> Record:
    criteria = dict.fromkeys(RANKABLE, 1.0) | {by: value}
    return Record(folder=Path(configuration), seed=seed, configuration=configuration, criteria=criteria)


def test_ranks_are_taken_within_seeds_and_averaged() -> None:
    # Seed 1 has harder teachers: b is best in both seeds, though below everything of seed 0 in seed 1.
    records = [record(0, "a", 90), record(0, "b", 95), record(0, "c", 90), record(1, "a", 20)]
    records += [record(1, "b", 30), record(1, "c", None)]
    assert seed_ranks(records, DEFAULT) == [0.75, 0.0, 0.75, 0.5, 0.0, 1.0]
    assert mean_ranks(records, DEFAULT) == {"b": 0.0, "a": 0.625, "c": 0.875}
    lower = [record(0, "a", 0.2, "common/divergence"), record(0, "b", 0.1, "common/divergence")]
    assert choose(lower, "common/divergence") == "b"


def test_a_configuration_that_lacks_a_seed_is_not_chosen() -> None:
    records = [record(0, "a", 99), record(0, "b", 50), record(1, "b", 50), record(1, "c", 99)]
    assert list(mean_ranks(records, DEFAULT)) == ["b"]


def test_spearman_and_regret_worked_by_hand() -> None:
    assert spearman([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    by = "common/divergence"
    records = [record(0, name, value, by) for name, value in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    judged = judge(records, [80.0, 85.0, 60.0])
    found = judged["criteria"][by]
    assert found["spearman"] == pytest.approx(0.5)  # Order a, b, c against b, a, c; less is better.
    assert (found["chosen"], found["regret"]) == ("a", 5.0)
    assert judged["regret_of_chance"] == pytest.approx(10)
    assert judged["criteria"][DEFAULT]["spearman"] is None  # All runs have the same value.
