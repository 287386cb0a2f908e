"""Which numbers of a run are taken for wrong."""

import math
import pickle

import pytest

from fusion.health import Diverged, Limits, check_epoch, check_iteration

HEALTHY = {
    "generator/a/adv": -0.4,
    "generator/a/bn": 900.0,
    "generator/a/bce": -math.log(10),
    "assistant/a/distill": 0.5,
    "student/distill": 50.0,
    "student/a/adv": 60.0,  # Only looked at, in no objective.
}


def test_healthy_numbers_pass_and_without_any_there_is_nothing_to_say() -> None:
    for metrics in (HEALTHY, {}):
        check_iteration(metrics, 0, Limits())
        check_epoch(metrics, 0, 9, Limits())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", HEALTHY)
def test_a_value_that_is_not_finite_is_named_with_its_iteration(name: str, value: float) -> None:
    with pytest.raises(Diverged) as error:
        check_iteration({**HEALTHY, name: value}, 41, Limits())
    assert str(error.value) == f"{name} is {value} in iteration 42"
    again = pickle.loads(pickle.dumps(error.value))  # As it comes from an actor.
    assert (str(again), again.term, again.iteration) == (str(error.value), name, 41)


@pytest.mark.parametrize(("value", "wrong"), [(9.99, False), (10.01, True), (-9.99, False), (-10.01, True)])
def test_an_adversarial_loss_explodes_beyond_its_limit_in_either_direction(value: float, wrong: bool) -> None:
    metrics = {**HEALTHY, "generator/a/adv": value}
    check_iteration(metrics, 0, Limits(largest_adv=11))
    if not wrong:
        return check_iteration(metrics, 0, Limits())
    with pytest.raises(Diverged, match=r"it explodes \(numerics\.limits\.largest_adv\)"):
        check_iteration(metrics, 0, Limits())
    return None


@pytest.mark.parametrize(("classes", "wrong"), [(1.0, True), (1.19, True), (1.21, False), (2.0, False)])
def test_a_generator_collapses_below_so_many_classes(classes: float, wrong: bool) -> None:
    metrics = {**HEALTHY, "generator/b/bce": -math.log(classes)}
    for value in (-math.log(classes), 1e-7):  # Of one class, as it may be rounded.
        check_epoch({**metrics, "generator/b/bce": value}, 0, 9, Limits(fewest_classes=1))  # Never.
    if not wrong:
        return check_epoch(metrics, 0, 9, Limits())
    with pytest.raises(Diverged, match=r"^generator/b/bce is .* over epoch 5: the generator has collapsed"):
        check_epoch(metrics, 4, 49, Limits())
    return None
