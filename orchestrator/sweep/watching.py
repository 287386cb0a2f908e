"""Hears Ray Tune while a sweep runs."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.tune import Callback

from orchestrator.sweep.board import Board, State
from orchestrator.sweep.points import of_config
from orchestrator.sweep.study import Study

WRITE_SECONDS = 1.0
NOTICE_SECONDS = 20.0

STATES: dict[str, State] = {
    "PENDING": "waiting",
    "PAUSED": "waiting",
    "RUNNING": "running",
    "TERMINATED": "stopped early",
    "ERROR": "failed",
}
"""Of Tune's states; a trial that is TERMINATED and whose folder holds no result was stopped."""


class Watcher(Callback):  # type: ignore[misc]
    """Keeps the board up to date, and says what a sweep waits for."""

    def __init__(self, study: Study, board: Board, total: int, say: Callable[[str], None]) -> None:
        self._study, self._board, self._total, self._say = study, board, total, say
        self._states: dict[str, tuple[str, Any]] = {}
        self._idle_since = time.monotonic()
        self._next_notice = NOTICE_SECONDS

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps a copy for going on, which our own folders are for."""
        return {}

    def on_step_end(self, iteration: int, trials: Sequence[Any], **info: Any) -> None:
        """Look at all trials, but at their folders only where something has changed."""
        del iteration, info
        changed = False
        for trial in trials:
            seen = (trial.status, (trial.last_result or {}).get("epoch"))
            if self._states.get(trial.trial_id) != seen:
                self._states[trial.trial_id] = seen
                changed = True
                why = "its process died" if trial.status == "ERROR" else None
                self._board.set(
                    of_config(self._study, trial.config, trial.trial_id), STATES[trial.status], why
                )
        if changed:
            self._board.write("running", WRITE_SECONDS)
        self._board.progressed(self._total)
        self._notice([trial.status for trial in trials])

    def _notice(self, states: Sequence[str]) -> None:
        """Nothing runs or is being started, and something could."""
        now = time.monotonic()
        if "RUNNING" in states or "PENDING" not in states or _reserved():
            self._idle_since, self._next_notice = now, NOTICE_SECONDS
        elif now - self._idle_since > self._next_notice:
            self._next_notice += NOTICE_SECONDS
            needs, free = total(self._study.bundles), ray.available_resources()
            self._say(
                f"waiting for {needs}: free are {free.get('CPU', 0.0):g} CPUs and {free.get('GPU', 0.0):g} "
                f"GPUs in all; each trial's actors must fit as {self._study.base['engine']['placement']} says"
            )


def _reserved() -> bool:
    """Whether a trial has got what it needs."""
    return any(one["state"] == "CREATED" for one in ray.util.placement_group_table().values())


def total(bundles: Sequence[dict[str, float]]) -> str:
    """What bundles need together, in words."""
    cpus = sum(one.get("CPU", 0.0) for one in bundles)
    gpus = sum(one.get("GPU", 0.0) for one in bundles)
    return f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
