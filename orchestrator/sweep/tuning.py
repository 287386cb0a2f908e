"""The part of a sweep that Ray Tune does."""

import contextlib
import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from ray.tune.schedulers import FIFOScheduler

from orchestrator.progress import Display
from orchestrator.sweep import population
from orchestrator.sweep.board import Board, Row
from orchestrator.sweep.halving import halving
from orchestrator.sweep.points import Point, drawn_space, param_space, point_of, searcher
from orchestrator.sweep.space import Parameters
from orchestrator.sweep.study import Study
from orchestrator.sweep.trial import OBJECTIVE, trainable
from orchestrator.sweep.watching import Watcher

DONE = ("finished", "stopped early")
RETRIES = 2
"""How often a trial is gone on with whose process died."""


def run_trials(study: Study, board: Board, total: int, display: Display) -> None:
    """Everything that is not over: the points that are known, then those that Optuna chooses."""
    left = left_of(study, board.rows)
    if left:
        known = dataclasses.replace(study, search="grid") if study.search == "optuna" else study
        _run(known, board, total, display, param_space(left), samples=1)
    if study.search == "optuna" and len(board.rows) < total:
        _run(study, board, total, display, drawn_space(study), samples=total - len(board.rows))


def left_of(study: Study, rows: Sequence[Row]) -> list[Point]:
    """What is known and not over. A kill may come when Optuna has chosen a point and not all of its seeds
    have begun; they are known as well."""
    known = {row["name"]: Point(row["name"], row["parameters"], row["seed"]) for row in rows}
    if study.search == "optuna":
        for row in rows:
            for seed in study.seeds:
                point = point_of(study, row["parameters"], seed)
                known.setdefault(point.name, point)
    over = {row["name"] for row in rows if row["status"] in DONE}
    return [point for name, point in known.items() if name not in over]


def _run(
    study: Study, board: Board, total: int, display: Display, space: dict[str, Any], samples: int
) -> None:
    from ray import tune

    search = searcher(study, _means(board.rows))
    with _quiet_tune():
        tuner = tune.Tuner(
            trainable(study),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric=OBJECTIVE,
                mode="max",
                num_samples=samples,
                # Tune begins what is beyond it only when another has ended; what limits a population is room,
                # and its members take turns.
                max_concurrent_trials=None if search or study.scheduler == "pbt" else study.concurrent,
                search_alg=search,
                scheduler=_scheduler(study),
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(study.folder),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[Watcher(study, board, total, display.said)],
            ),
        )
        tuner.fit()
    shutil.rmtree(study.folder / "tune", ignore_errors=True)


def _means(rows: Sequence[Row]) -> list[tuple[Parameters, float]]:
    """What the finished points came to, over their seeds."""
    found: dict[str, tuple[Parameters, list[float]]] = {}
    for row in rows:
        if row["status"] == "finished" and row["objective"] is not None:
            key = json.dumps(row["parameters"], sort_keys=True)
            found.setdefault(key, (row["parameters"], []))[1].append(row["objective"])
    return [(values, sum(seen) / len(seen)) for values, seen in found.values()]


def _scheduler(study: Study) -> Any:
    if study.scheduler == "pbt":
        return population.scheduler(study)
    epochs = int(study.base["schedule"]["epochs"])
    if study.scheduler == "asha" and epochs > 1:
        return halving(epochs)
    return FIFOScheduler()


@contextlib.contextmanager
def _quiet_tune() -> Iterator[None]:
    """Tune says nothing of its own (what failed is said once, in a line), leaves signals to us, and does not
    change folders."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    variables = {
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_WARN_THRESHOLD_S": "60",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # A trial that fails has none.
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
