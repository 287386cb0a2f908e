"""The benchmark of scaling on a slow machine."""

from benchmarks.scaling import measure


def test_costs_are_measured_also_where_the_first_iteration_takes_all_the_time() -> None:
    costs = measure("resnet8-w8", 8, 8, least=1e-9)
    assert all(costs[part] > 0 for part in ("party", "images", "label", "student"))
