"""At which epochs successive halving stops trials: Ray Tune's own scheduler, without a cluster."""

from types import SimpleNamespace

import pytest

from orchestrator.sweep.halving import halving

METRIC = "accuracy"


def stops(epochs: int, accuracies: list[float], first: int = 1) -> dict[int, int]:
    """The epoch after which each trial is stopped, of those that are, one trial after the other; they report
    from epoch `first` on."""
    scheduler = halving(epochs)
    assert scheduler.set_search_properties(METRIC, "max")
    stopped: dict[int, int] = {}
    for number, accuracy in enumerate(accuracies):
        trial = SimpleNamespace(trial_id=str(number))
        scheduler.on_trial_add(None, trial)
        for epoch in range(first, epochs + 1):
            result = {"epoch": epoch, METRIC: accuracy + (10 if epoch > epochs // 3 else 0) * (number % 2)}
            if scheduler.on_trial_result(None, trial, result) == "STOP":
                stopped[number] = epoch
                scheduler.on_trial_remove(None, trial)
                break
        else:
            # Tune reports the end once more.
            assert scheduler.on_trial_result(None, trial, result) == "CONTINUE"
            scheduler.on_trial_complete(None, trial, result)
    return stopped


@pytest.mark.parametrize(
    ("epochs", "quarter", "half"),
    [(2, 1, None), (3, 1, 2), (4, 1, 2), (5, 1, 2), (8, 2, 4), (10, 2, 4), (20, 5, 10), (200, 50, 100)],
)
def test_trials_are_stopped_at_a_quarter_and_at_half_alone(
    epochs: int, quarter: int, half: int | None
) -> None:
    scheduler = halving(epochs)
    (bracket,) = scheduler._brackets
    assert [epoch for epoch, _ in bracket._rungs] == [one for one in (half, quarter) if one is not None]
    # They fall; every other trial is better from a third of the epochs on, which the rest then meets.
    found = stops(epochs, [60.0, 61.0, 60.5, 50.0, 40.0, 30.0])
    assert set(found.values()) <= {quarter, half}
    assert quarter in found.values()
    assert set(found) == {2, 3, 4, 5} if half else {3, 4, 5}
    assert (half in found.values()) == (half is not None)


def test_a_trial_that_goes_on_late_is_stopped_no_more() -> None:
    assert stops(20, [60.0, 50.0, 40.0], first=11) == {}
