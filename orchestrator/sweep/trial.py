"""What a process of Ray Tune does: one whole fusion after the other, each in a folder of its own."""

import contextlib
import functools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.util.placement_group import PlacementGroup

from orchestrator.config import RunConfig
from orchestrator.distributed import RayEngine
from orchestrator.engines import Engine
from orchestrator.errors import Interrupted, RunFailed, UserError
from orchestrator.local import LocalEngine
from orchestrator.lock import InUse, locked
from orchestrator.run_folder import finished_summary, write_text
from orchestrator.running import fuse
from orchestrator.secrets import redact
from orchestrator.stopping import Stopping
from orchestrator.surroundings import Surroundings
from orchestrator.sweep import population
from orchestrator.sweep.points import Point, of_config
from orchestrator.sweep.study import TRIALS, Study
from orchestrator.terminal import terminal

STOP = ".stop"
"""A file in the sweep's folder: all trials are to keep what they have and end."""
ERROR = ".error.txt"
LOG = ".log"
POLL_SECONDS = 0.5
OBJECTIVE = "objective"

_engines: dict[PlacementGroup, RayEngine] = {}
"""The one of this process, whose actors serve one trial after the other."""


def run_trial(config: Mapping[str, Any], study: Study) -> None:
    """One trial, or the rest of one; what has been done in its folder is not done again.

    One that fails by itself leaves its reason in a file and ends in peace: Tune would only start it again, as
    it does with one whose process died, and this process would be lost to others.
    """
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "30")  # A trial that is stopped writes a summary.
    point = of_config(study, config, tune.get_context().get_trial_id())
    place = study.folder / TRIALS / point.name
    error = place.with_name(point.name + ERROR)
    try:
        summary = finished_summary(place) or _run(study, point, place)
    except (UserError, RunFailed) as failure:
        write_text(error, redact(str(failure)).splitlines()[0])
        tune.report({"epoch": 0})
        return
    tune.report({"epoch": study.epochs(point.parameters), OBJECTIVE: objective(summary)})


def objective(summary: Mapping[str, Any]) -> float:
    """What a sweep maximises, in percent: test accuracy, or without test images the criterion of a run alone
    that ranked best (docs/choosing.md)."""
    student = summary["student"]
    found = student["accuracy"]
    return float(found if found is not None else student["criteria"]["balanced_agreement"])


def _run(study: Study, point: Point, folder: Path) -> Mapping[str, Any]:
    """The summary, when it is finished; waits for a twin: other draws may come to the same values."""
    parameters, given = point.parameters, study.scheduler == "pbt" and tune.get_checkpoint() is not None
    if study.scheduler == "pbt" and not given and (folder / "config.yaml").exists():
        parameters = population.values_of(study, folder)
    config = study.config(parameters, point.seed, point.name)
    if study.scheduler == "pbt":
        config = population.members_config(config)
    if given:
        population.take_over(config, parameters, folder)
    tags = {"mlflow.parentRunId": study.parent, "dfmf.sweep": study.folder.name} if study.parent else {}
    folder.parent.mkdir(exist_ok=True)
    with folder.with_name(folder.name + LOG).open("a", encoding="utf-8") as log, _stopping(study) as stopping:
        surroundings = Surroundings(
            engine=lambda config, _say: _engine(study, config),
            tags=tags,
            reported=functools.partial(_report, study, folder),
            stopping=stopping,
        )
        console = terminal(log, width=110)
        while True:
            try:
                resume = _begun(folder)
                tree = config.model_dump(mode="json")
                return fuse(tree, resume=resume, console=console, surroundings=surroundings).summary
            except InUse:
                time.sleep(POLL_SECONDS)
            except Interrupted:
                raise SystemExit(0) from None  # Tune takes this for the end that it asked for.


def _report(study: Study, folder: Path, epoch: int, metrics: Mapping[str, float]) -> None:
    """To Tune, whose scheduler may want no more of this trial."""
    accuracy = metrics.get("eval/accuracy")
    with population.given(study, epoch, folder) as checkpoint:
        try:
            tune.report(
                {"epoch": epoch} if accuracy is None else {"epoch": epoch, OBJECTIVE: accuracy},
                checkpoint=checkpoint,
            )
        except SystemExit:
            raise KeyboardInterrupt from None


def _begun(folder: Path) -> Path | None:
    """The folder, if there is a run in it to go on with; what is left of less is removed."""
    if (folder / "config.yaml").exists():
        return folder
    if folder.exists() and any(folder.iterdir()):
        with locked(folder):
            shutil.rmtree(folder)
    return None


@contextlib.contextmanager
def _engine(study: Study, config: RunConfig) -> Iterator[Engine]:
    if study.plan is None:
        yield LocalEngine(config.engine.threads)
        return
    group = ray.util.get_current_placement_group()
    if group not in _engines:
        _engines.clear()
        _engines[group] = RayEngine(config.engine, study.plan, group, keep_actors=True)
    yield _engines[group]


@contextlib.contextmanager
def _stopping(study: Study) -> Iterator[Stopping]:
    """Requested as soon as the sweep's driver asks for it."""
    stopping, over = Stopping(), threading.Event()

    def watch() -> None:
        while not over.wait(POLL_SECONDS):
            if (study.folder / STOP).exists():
                stopping.request()
                return

    thread = threading.Thread(target=watch, name="stopping", daemon=True)
    thread.start()
    try:
        yield stopping
    finally:
        over.set()
        thread.join()


Trainable = Callable[[Mapping[str, Any]], None]


def trainable(study: Study) -> Trainable:
    """`run_trial` as Ray Tune takes it."""
    with_study = tune.with_parameters(run_trial, study=study)
    resources = tune.PlacementGroupFactory(study.bundles, strategy=study.base["engine"]["placement"])
    wrapped: Trainable = tune.with_resources(with_study, resources)
    return wrapped
