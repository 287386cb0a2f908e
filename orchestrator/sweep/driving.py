"""A sweep from its command to its folder."""

import contextlib
import dataclasses
import json
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import ray
from rich.console import Console

from orchestrator.cluster import cluster
from orchestrator.config import RunConfig
from orchestrator.dry_run import subject
from orchestrator.errors import Interrupted, RunFailed, Terminated, UserError
from orchestrator.loading import config_name, dump_config, load_config
from orchestrator.lock import InUse, locked
from orchestrator.progress import Display
from orchestrator.run_folder import NO_ROOM, make_run_folder, write_text
from orchestrator.running import resolve
from orchestrator.stopping import Stopping
from orchestrator.sweep import reporting, tracking
from orchestrator.sweep.board import SWEEP, Board, Row, read_sweep
from orchestrator.sweep.earlier import CONFIG, Earlier, begun_before, forget_killed_start, nothing_begun
from orchestrator.sweep.paths import absolute, absolute_space
from orchestrator.sweep.points import Point, in_words, known_points
from orchestrator.sweep.space import Space, check_space, load_space
from orchestrator.sweep.study import TRIALS, Study, share_out
from orchestrator.sweep.trial import ERROR, STOP
from orchestrator.sweep.tuning import run_trials
from orchestrator.sweep.wishes import Wishes, check_cases, check_wishes, prepared
from orchestrator.terminal import terminal

STOP_SECONDS = 8.0
"""How long trials have for their last checkpoints."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepResult:
    """Where a sweep's results lie, and what came of each trial."""

    folder: Path
    trials: list[Row]


def sweep(run: str, overrides: Sequence[str], wishes: Wishes, console: Console | None = None) -> SweepResult:
    """Run the trials of a space, each a fusion that differs from `run` in a few keys.

    Raises:
        UserError: the input is wrong; a line for each mistake. Nothing has been written.
        Interrupted: Ctrl-C or SIGTERM; `resume` goes on.
        RunFailed: all trials failed.
    """
    config, default_name = resolve(run, overrides)
    space = load_space(wishes.space)
    if wishes.seeds is not None:
        space = space.model_copy(update={"seeds": wishes.seeds})
    if wishes.scheduler == "pbt":
        space = space.model_copy(update={"seeds": 1})
    return run_space(config, space, wishes, f"{default_name}-{config_name(wishes.space)}", console)


def run_space(
    config: RunConfig,
    space: Space,
    wishes: Wishes,
    default_name: str,
    console: Console | None = None,
    again: bool = False,
) -> SweepResult:
    """`sweep` of a space in memory; with `again` its folder may hold a sweep of the same configuration, of
    which what is finished, and every trial that is not of this space, stay as they are.

    Raises:
        UserError, Interrupted, RunFailed: as `sweep`.
    """
    base, space = prepared(config), absolute_space(space)
    check_space(space, base, wishes.space, combined=wishes.search == "grid")
    check_wishes(wishes, config)
    check_cases(wishes, space)
    subject(config)  # What every trial would refuse.
    earlier = begun_before(config) if again else None
    if config.name is not None:
        forget_killed_start(Path(config.output).absolute() / config.name)
    folder = earlier.folder if earlier else make_run_folder(config.output, config.name, default_name)
    display = Display(console or terminal())
    study = Study(
        folder=folder,
        space_name=wishes.space,
        space=space,
        base=base,
        seeds=space.seed_list(config.seed),
        search=wishes.search,
        scheduler=wishes.scheduler,
        samples=wishes.samples or 0,
        concurrent=0,
        plan=None,
        gpus=0.0,
        parent=earlier.parent if earlier else None,
    )
    try:
        return _run(study, config, wishes.concurrent, display, earlier=earlier)
    except (UserError, Interrupted):
        with contextlib.suppress(OSError):
            folder.rmdir()  # Only if nothing has been written.
        raise


def resume(folder: Path, concurrent: int | None = None, console: Console | None = None) -> SweepResult:
    """Go on with a sweep: trials that are over are not run again, those that failed are tried once more.

    Raises:
        UserError, Interrupted, RunFailed: as `sweep`.
    """
    known, folder = read_sweep(folder), folder.absolute()
    config = load_config(str(folder / CONFIG))
    try:
        study = Study(
            folder=folder,
            space_name=known["space"],
            space=Space.model_validate_json(json.dumps(known["definition"])),
            base=prepared(config),
            seeds=known["seeds"],
            search=known["search"],
            scheduler=known["scheduler"],
            samples=known["samples"],
            concurrent=0,
            plan=None,
            gpus=0.0,
            parent=known["mlflow_run_id"],
        )
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"{folder / SWEEP}: is damaged ({type(error).__name__})") from error
    return _run(study, config, concurrent, Display(console or terminal()), rows=known["trials"])


def _run(
    study: Study,
    config: RunConfig,
    concurrent: int | None,
    display: Display,
    rows: Sequence[Row] = (),
    earlier: Earlier | None = None,
) -> SweepResult:
    """Those of `rows` that are not over, if there are any, else all of the study's points."""
    stopping = Stopping()
    with stopping.installed(), locked(study.folder), display:
        points = [Point(row["name"], row["parameters"], row["seed"]) for row in rows] or known_points(study)
        kept = earlier.rows_but(point.name for point in points) if earlier else []
        total = study.samples * len(study.seeds) if study.search == "optuna" else len(points)
        try:
            with cluster(config.engine):
                stopping.install()  # Ray takes SIGTERM for itself.
                study = _placed(study, config, concurrent, total)
                study = _begun(study, config, kept)
                display.said(
                    f"{in_words(study, points)}, {study.concurrent} trials at once; results go to "
                    f"{study.folder}"
                )
                if earlier is not None:
                    study = earlier.joined(study)
                board = Board(study, display, rows, kept)
                with tracking.finished(study, board, display.said):
                    board.know(points)
                    try:
                        run_trials(study, board, total, display)
                    except KeyboardInterrupt:
                        _stop_trials(study, board)
                        raise
                    board.write("finished" if board.has_results else "failed")
                    reporting.show(study, board, display)
        except KeyboardInterrupt as error:
            how = Terminated if stopping.signal == signal.SIGTERM else Interrupted
            if nothing_begun(study.folder):
                raise how("stopped while starting; nothing has been run") from error
            raise how(f"stopped; to go on: dfmf sweep --resume {study.folder}") from error
        except UserError:
            nothing_begun(study.folder)
            raise
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            what = f"{error.filename or study.folder}: {error.strerror}"
            if nothing_begun(study.folder):
                raise UserError(f"{what}; nothing has been run") from error
            raise RunFailed(
                f"{what}; with room there again, to go on: dfmf sweep --resume {study.folder}"
            ) from error
    if not board.has_results:
        raise RunFailed(
            f"no trial was finished; the reasons are in {study.folder / SWEEP}; to try again: "
            f"dfmf sweep --resume {study.folder}"
        )
    return SweepResult(folder=study.folder, trials=board.rows)


def _placed(study: Study, config: RunConfig, concurrent: int | None, total: int) -> Study:
    has = ray.cluster_resources()
    grows = config.engine.cluster_address is not None
    count, plan, gpus = share_out(
        config,
        concurrent,
        has.get("CPU", 0.0),
        has.get("GPU", 0.0),
        total,
        grows=grows,
        together=study.scheduler == "pbt",
    )
    return dataclasses.replace(study, concurrent=count, plan=plan, gpus=gpus)


def _begun(study: Study, config: RunConfig, kept: Sequence[Row]) -> Study:
    """The folder with what has to be known to go on; what is left of an earlier start goes. The run in MLflow
    comes last: what fails here leaves none behind."""
    folder = study.folder
    if not (folder / CONFIG).exists():
        write_text(folder / CONFIG, dump_config(absolute(config)))
    (folder / STOP).unlink(missing_ok=True)
    stay = {row["name"] for row in kept}
    for error in (folder / TRIALS).glob(f"*{ERROR}"):
        if error.name.removesuffix(ERROR) not in stay:
            error.unlink()
    shutil.rmtree(folder / "tune", ignore_errors=True)
    if study.parent is None:
        return dataclasses.replace(study, parent=tracking.start(study, config))
    tracking.resume(study)
    return study


def _stop_trials(study: Study, board: Board) -> None:
    """Have those that run keep what they have, and wait for them, but not for long."""
    (study.folder / STOP).touch()
    running = [study.folder / row["folder"] for row in board.rows if row["status"] == "running"]
    until = time.monotonic() + STOP_SECONDS
    while time.monotonic() < until and any(_in_use(folder) for folder in running):
        time.sleep(0.1)
    board.write("interrupted")


def _in_use(folder: Path) -> bool:
    try:
        with locked(folder):
            return False
    except InUse:
        return True
    except UserError:
        return False
