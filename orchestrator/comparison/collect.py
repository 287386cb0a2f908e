"""From what a person names (folders of runs and sweeps, experiments of MLflow) to records of runs."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fusion.untrusted import one_line
from orchestrator import journal
from orchestrator.comparison.files import Summary, SweepFile, Trial, read_model, read_object
from orchestrator.comparison.places import started_in
from orchestrator.comparison.records import FINISHED, Run, Sweep
from orchestrator.config import RunConfig
from orchestrator.environment import ENVIRONMENT
from orchestrator.errors import user_error
from orchestrator.loading import load_config
from orchestrator.secrets import redact
from orchestrator.sweep.space import with_values
from orchestrator.tracking import flat

CONFIG, SUMMARY, SWEEP = "config.yaml", "summary.json", "sweep.json"
CARD = "student.json"
EXPERIMENT = "mlflow:"


def collect(targets: Sequence[str | Path], tracking_uri: str | None = None) -> list[Run]:
    """The runs of all targets, each once, in the order in which they are named.

    A target is a run's folder, a sweep's folder, or ``mlflow:EXPERIMENT`` in the store `tracking_uri` (by
    default the one in `runs`). Runs that are not finished are among them, without results.

    Raises:
        UserError: a target is none of these, or something in it is damaged.
    """
    found: dict[str, Run] = {}
    for target in targets:
        for run in _runs_of(str(target), tracking_uri):
            found.setdefault(run.identity, run)
    return list(found.values())


def _runs_of(target: str, tracking_uri: str | None) -> list[Run]:
    if target.startswith(EXPERIMENT):
        from orchestrator.comparison.experiments import experiment_runs

        return experiment_runs(target.removeprefix(EXPERIMENT), tracking_uri)
    folder = Path(target)
    try:
        if (folder / SWEEP).is_file():
            return sweep_runs(folder)
        if (folder / CONFIG).is_file() or (folder / SUMMARY).is_file():
            return [run_in(folder)]
    except (OSError, ValueError):  # No path at all.
        pass
    raise user_error(
        f"{redact(target)}: is no target; allowed are a run's folder (with {CONFIG}), a sweep's folder (with "
        f"{SWEEP}) and {EXPERIMENT}EXPERIMENT"
    )


def run_in(folder: Path, *, name: str | None = None, origin: str | None = None) -> Run:
    """The run in a folder; without results if it is not finished.

    Raises:
        UserError: it is no fusion, or something in it is damaged.
    """
    config = flat_config(folder / CONFIG)
    about: dict[str, Any] = {
        "name": one_line(name or folder.absolute().name),
        "origin": one_line(origin or str(folder)),
        "identity": origin or str(folder.resolve()),
        "config": config,
        "environment": _if_there(folder / ENVIRONMENT),
        "started_in": None if origin else started_in(folder, config["output"]),
    }
    if not (folder / SUMMARY).exists():
        reason = f"has no {SUMMARY}: it goes on, or broke off"
        return Run(**about, seed=config["seed"], status="unfinished", reason=reason)
    summary = read_model(folder / SUMMARY, Summary)
    if summary.status != FINISHED:
        return Run(**about, seed=summary.seed, status=summary.status, reason="not finished")
    if summary.student is None:
        raise user_error(f"{folder}: holds teachers and no fusion; there is nothing to compare")
    if summary.seed != config["seed"]:
        raise user_error(
            f"{folder}: is damaged (seed {summary.seed} in {SUMMARY}, {config['seed']} in {CONFIG})"
        )
    classes = _if_there(folder / CARD).get("classes")
    return Run(
        **about,
        seed=summary.seed,
        status=FINISHED,
        summary=summary,
        epochs=journal.read_epochs(folder),
        classes=[one_line(str(one)) for one in classes] if isinstance(classes, list) else (),
    )


def sweep_runs(folder: Path) -> list[Run]:
    """The trials of a sweep, also those that failed.

    Raises:
        UserError: its file or a trial's folder is damaged.
    """
    file = read_model(folder / SWEEP, SweepFile)
    base = load_config(str(folder / CONFIG)) if (folder / CONFIG).is_file() else None
    sweep = Sweep(
        name=file.name, parameters=file.parameters, base=None if base is None else on_one_level(base)
    )
    return [_trial(folder, sweep, base, trial) for trial in file.trials]


def _trial(folder: Path, sweep: Sweep, base: RunConfig | None, trial: Trial) -> Run:
    place = folder / trial.folder
    if not place.resolve().is_relative_to(folder.resolve()):
        raise user_error(
            f"{folder / SWEEP}: is damaged (trial {trial.name}: folder {trial.folder} is outside)"
        )
    if trial.status == FINISHED:
        run = run_in(place, name=trial.name)
        if not run.finished:
            raise user_error(f"{place}: is damaged ({SWEEP} calls it finished, but it is {run.status})")
        return dataclasses.replace(run, sweep=sweep)
    config = flat_config(place / CONFIG) if (place / CONFIG).is_file() else _planned(folder, base, trial)
    return Run(
        name=trial.name,
        origin=one_line(str(place)),
        identity=str(place.resolve()),
        seed=trial.seed,
        config=config,
        status=trial.status,
        reason=redact(trial.reason),
        sweep=sweep,
    )


def _planned(folder: Path, base: RunConfig | None, trial: Trial) -> dict[str, Any]:
    """The configuration of a trial that has written none."""
    if base is None:
        return {}
    changes = {**trial.parameters, "seed": trial.seed}
    where = f"{folder / SWEEP}: trial {trial.name}"
    return on_one_level(with_values(json.loads(base.model_dump_json()), changes, where))


def flat_config(path: Path) -> dict[str, Any]:
    """`on_one_level` for a file.

    Raises:
        UserError: it cannot be read, or is wrong.
    """
    return on_one_level(load_config(str(path)))


def on_one_level(config: RunConfig) -> dict[str, Any]:
    """A configuration with all its defaults, each teacher by its number, without secrets."""
    tree: dict[str, Any] = redact(json.loads(config.model_dump_json()))
    if tree["teachers"] is not None:
        tree["teachers"] = {str(index): one for index, one in enumerate(tree["teachers"])}
    return flat(tree)


def _if_there(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}
