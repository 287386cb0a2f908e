"""A fusion from its configuration to its folder."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.config import RunConfig
from orchestrator.distributed import ray_engine
from orchestrator.engines import Engine
from orchestrator.environment import environment
from orchestrator.errors import Interrupted, RunFailed, UserError
from orchestrator.fusion_run import FusionResult, Run
from orchestrator.loading import config_name, load_config, parse_config
from orchestrator.local import LocalEngine
from orchestrator.progress import Display
from orchestrator.run_folder import make_run_folder, write_text
from orchestrator.teachers import (
    check_data,
    lessons,
    read_data,
    read_teachers,
    without_teachers,
)
from orchestrator.tracking import Tracker, flat
from orchestrator.waiting import ActorLost


def fuse(run: str | Mapping[str, Any], *overrides: str, console: Console | None = None) -> FusionResult:
    """Run a fusion: `run` is a YAML file, a preset's name or a mapping; `overrides` are like
    ``method.alpha=0.2``.

    Raises:
        UserError: the input is wrong; one line for each mistake. Nothing has been written.
        Interrupted: Ctrl-C; what was computed is in the run's folder.
        RunFailed: an actor was lost; what was computed is in the run's folder.
    """
    with _started(run, overrides, console) as fusion:
        return fusion.fuse()


def pretrain(run: str | Mapping[str, Any], *overrides: str, console: Console | None = None) -> FusionResult:
    """Train the teachers (and the gold standard) that `run` describes, measure them, and stop there.

    Raises:
        UserError, Interrupted, RunFailed: as `fuse`.
    """
    with _started(run, overrides, console, pretrain_only=True) as fusion:
        return fusion.pretrain_and_measure()


def resolve(run: str | Mapping[str, Any], overrides: Sequence[str]) -> tuple[RunConfig, str]:
    """The configuration, and what a run of it is called when it names itself not."""
    if isinstance(run, str):
        return load_config(run, overrides), config_name(run)
    return parse_config(run, "configuration", overrides), "run"


@contextlib.contextmanager
def _started(
    run: str | Mapping[str, Any],
    overrides: Sequence[str],
    console: Console | None,
    pretrain_only: bool = False,
) -> Iterator[Run]:
    """Check everything that can be wrong with the input, then make the folder and start the engine and
    MLflow."""
    started = time.monotonic()
    config, default_name = resolve(run, overrides)
    if pretrain_only:
        config = without_teachers(config)
    data = read_data(config)
    teachers = None if config.teachers is None else read_teachers(config)
    if teachers is not None and data is not None:
        check_data(teachers, data[1])
    todo = lessons(config, data[0]) if teachers is None and data is not None else []
    folder = make_run_folder(config.output, config.name, default_name)
    display = Display(console or Console())
    try:
        with display, _open_engine(config, display.said) as engine:
            tracker = None if pretrain_only else _tracker(config, folder)
            test = data[1] if data is not None else None
            yield Run(config, folder, display, tracker, engine, started, teachers, todo, test)
    except UserError:
        with contextlib.suppress(OSError):
            folder.rmdir()  # Only if nothing has been written.
        raise
    except ActorLost as error:
        write_text(folder / "error.txt", f"{error}\n\n{error.__cause__}\n")
        raise RunFailed(f"{error}; the details and what was computed are in {folder}") from error
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped before the fusion began; what there is lies in {folder}") from error


@contextlib.contextmanager
def _open_engine(config: RunConfig, say: Callable[[str], None]) -> Iterator[Engine]:
    if config.engine.mode == "local":
        yield LocalEngine(config.engine.threads)
    else:
        with ray_engine(config.engine, config.num_parties, say) as engine:
            yield engine


def _tracker(config: RunConfig, folder: Path) -> Tracker | None:
    if not config.tracking.enabled:
        return None
    params = {
        name: value for name, value in flat(json.loads(config.model_dump_json())).items() if value is not None
    }
    commit = environment()["git_commit"]
    tags = {"dfmf.folder": str(folder), **({"mlflow.source.git.commit": commit} if commit else {})}
    return Tracker(config.tracking, Path(config.output), folder.name, params, tags)
