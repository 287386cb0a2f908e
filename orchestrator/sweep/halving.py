"""Successive halving: the poorer half of the trials ends early (Li et al., 2020)."""

from collections.abc import Mapping
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

EPOCH = "epoch"


class Halving(ASHAScheduler):  # type: ignore[misc]
    """Ray Tune's, which would also judge, at whatever epoch it reports first, a trial that goes on after a
    stop."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Whether a trial is to go on."""
        if not self._judges(result):
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> None:
        """What a trial came to in the end is nothing to hold others against."""
        if self._judges(result):
            super().on_trial_complete(tune_controller, trial, result)

    def _judges(self, result: Mapping[str, Any]) -> bool:
        rungs = [epoch for bracket in self._brackets for epoch, _ in bracket._rungs]
        return result.get(EPOCH) in rungs


def halving(epochs: int) -> Halving:
    """That stops trials after a quarter of the epochs, rounded down, and after twice as many; but not at the
    last, when all work is done."""
    quarter = max(1, epochs // 4)
    return Halving(
        time_attr=EPOCH,
        max_t=min(2 * quarter, epochs - 1),
        grace_period=quarter,
        reduction_factor=2,
        stop_last_trials=False,  # What gets past max_t goes on to its end.
    )
