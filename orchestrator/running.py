"""A fusion from its configuration to its folder."""

import contextlib
import copy
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from fusion.teachers import TeacherCard
from fusion.untrusted import one_line
from orchestrator import shipping
from orchestrator.checkpoints import OutOfReach
from orchestrator.config import RunConfig
from orchestrator.environment import ENVIRONMENT, git_commit
from orchestrator.errors import Interrupted, RunFailed, Terminated, UserError
from orchestrator.fusion_run import Run
from orchestrator.label_spaces import check_classes
from orchestrator.loading import config_name, load_config, overridden_config
from orchestrator.lock import InUse, locked
from orchestrator.method_check import check_method
from orchestrator.network_check import check_networks
from orchestrator.progress import Display
from orchestrator.recording import STUDENT
from orchestrator.recovering import is_storage, recovered
from orchestrator.resuming import CONFIG, check_begun, own_config, own_folder, write_beginning
from orchestrator.run_folder import NO_ROOM, details, finished_summary, make_run_folder, taken_back
from orchestrator.run_parts import FusionResult, Inputs
from orchestrator.secrets import redact
from orchestrator.sending import NOTE
from orchestrator.sharing import check_cache
from orchestrator.storage import storage_of_run
from orchestrator.surroundings import Surroundings, alone
from orchestrator.teachers import (
    check_data,
    lessons,
    read_data,
    read_teachers,
    with_versions,
    without_teachers,
)
from orchestrator.terminal import terminal
from orchestrator.tracking import flat, tracking_uri
from orchestrator.transfer import check_sources
from orchestrator.waiting import ActorLost

BEGINNING = (CONFIG, ENVIRONMENT, NOTE)
"""What is in a run's folder before anything is computed."""


def fuse(
    run: str | Mapping[str, Any] | None = None,
    *overrides: str,
    resume: Path | str | None = None,
    console: Console | None = None,
    surroundings: Surroundings | None = None,
) -> FusionResult:
    """Run a fusion: `run` is a YAML file, a preset's name or a mapping; `overrides` are like
    ``method.alpha=0.2``. `resume` is the folder of a run to go on with, or, where that is lost, the path or
    URI of its checkpoints; `run` is then its own configuration unless given.

    Raises:
        UserError: the input is wrong; one line for each mistake. Nothing has been written.
        Interrupted: Ctrl-C or SIGTERM; what was computed is in the run's folder.
        RunFailed: an actor was lost for good, the numbers went wrong, the disk is full, the checkpoints could
        not be read, or the input is wrong in a way that shows only when something is computed; what was
        computed is in the run's folder.
    """
    if resume is not None and is_storage(resume):
        place = str(resume) if "://" in str(resume) else str(Path(resume).absolute())
        overrides = (*overrides, f"checkpoint.to={json.dumps(place)}")
        resume = recovered(place, overrides, partial(_print, console or terminal()))
    folder = None if resume is None else own_folder(resume)
    if folder is not None and (finished := _finished(folder, run, overrides, console)):
        return finished
    with _started(run, overrides, console, resume=folder, surroundings=surroundings) as fusion:
        return fusion.fuse()


def pretrain(
    run: str | Mapping[str, Any] | None = None,
    *overrides: str,
    resume: Path | str | None = None,
    console: Console | None = None,
) -> FusionResult:
    """Train the teachers (and the gold standard) that `run` describes, measure them, and stop there.
    `resume` is the folder of such a run to go on with.

    Raises:
        UserError, Interrupted, RunFailed: as `fuse`.
    """
    folder = None if resume is None else own_folder(resume)
    if folder is not None and (finished := _finished(folder, run, overrides, console)):
        return finished
    with _started(run, overrides, console, pretrain_only=True, resume=folder) as fusion:
        return fusion.pretrain_and_measure()


def resolve(run: str | Mapping[str, Any], overrides: Sequence[str]) -> tuple[RunConfig, str]:
    """The configuration, and what a run of it is called when it names itself not."""
    if isinstance(run, str):
        return load_config(run, overrides), config_name(run)
    return overridden_config(copy.deepcopy(dict(run)), "configuration", overrides), "run"


@contextlib.contextmanager
def _started(
    run: str | Mapping[str, Any] | None,
    overrides: Sequence[str],
    console: Console | None,
    pretrain_only: bool = False,
    resume: Path | None = None,
    surroundings: Surroundings | None = None,
) -> Iterator[Run]:
    """Check everything that can be wrong with the input, then make the folder and start the engine and
    MLflow."""
    started = time.monotonic()
    around = surroundings or alone()
    command = "dfmf pretrain" if pretrain_only else "dfmf fuse"
    config, default_name = resolve(_configuration(run, resume), overrides)
    config = with_versions(config)
    if pretrain_only:
        config = without_teachers(config)
    if resume is not None:
        check_begun(resume, config)
    data = read_data(config)
    teachers = None if config.teachers is None else read_teachers(config)
    todo = lessons(config, data[0]) if teachers is None and data is not None else []
    cards: Sequence[TeacherCard] = teachers or [lesson.card for lesson in todo[: config.num_parties]]
    space = check_classes(config, cards)
    check_networks(config, cards)
    check_method(config, cards, space)
    check_sources(config)
    test = check_data(cards, space, data[1]) if data is not None else None
    folder = resume or make_run_folder(config.output, config.name, default_name)
    display, stopping = Display(console or terminal()), around.stopping
    try:
        with stopping.installed(), locked(folder):
            resumed = resume is not None
            if resumed and finished_summary(folder) is not None:
                raise InUse(f"{folder}: another process has finished it meanwhile")
            check_cache(config.checkpoint.cache)
            with (
                storage_of_run(config.checkpoint.to, folder, resumed=resumed) as storage,
                display,
                around.engine(config, display.said) as engine,
            ):
                if data is not None and test is not None and len(test) < len(data[1]):
                    display.said(
                        f"data: {len(data[1]) - len(test)} test images are of classes that no teacher knows"
                    )
                stopping.install()  # Ray takes SIGTERM for itself.
                if not resumed:
                    write_beginning(folder, config)
                shipper = (
                    None if pretrain_only else _shipper(config, folder, resumed, display.said, around.tags)
                )
                inputs = Inputs(teachers=teachers, todo=todo, test=test, storage=storage, resumed=resumed)
                yield Run(
                    config, folder, display, shipper, engine, started, inputs, stopping, around.reported
                )
    except UserError as error:
        if resume or isinstance(error, InUse) or taken_back(folder, BEGINNING):
            raise
        kept = f"its classifiers stay in {folder / 'teachers'}; once that is mended there, "
        raise RunFailed(f"{error}; {kept}{_go_on(command, folder)}") from error
    except OutOfReach as error:
        raise RunFailed(f"{error}; {_go_on(command, folder, 'when they can be read again, ')}") from error
    except ActorLost as error:
        raise RunFailed(f"{error}; {details(folder, error)}; {_go_on(command, folder)}") from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        where = error.filename or folder
        raise RunFailed(
            f"{where}: {error.strerror}; {_go_on(command, folder, 'with room there again, ')}"
        ) from error
    except KeyboardInterrupt as error:
        how = Terminated if stopping.signal == signal.SIGTERM else Interrupted
        raise how(f"stopped; {_go_on(command, folder)}") from error


def _finished(
    folder: Path, run: str | Mapping[str, Any] | None, overrides: Sequence[str], console: Console | None
) -> FusionResult | None:
    """The result of a run that needs no going on, which is said."""
    summary = finished_summary(folder)
    if summary is None:
        return None
    rest = f"but shipping it: dfmf sync {folder}" if shipping.lacking(folder) else "to do"
    if overrides:
        resolve(_configuration(run, folder), overrides)  # They may be wrong.
        rest += f"; a finished run stays as it is, without {one_line(redact(', '.join(overrides)))}"
    _print(console or terminal(), f"{folder} is finished; nothing is left {rest}")
    return FusionResult(folder=folder, summary=summary)


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _configuration(run: str | Mapping[str, Any] | None, resume: Path | None) -> str | Mapping[str, Any]:
    if run is not None:
        return run
    if resume is None:
        raise UserError("RUN: name a configuration or a preset, or a run to go on with (--resume)")
    return own_config(resume)


def _go_on(command: str, folder: Path, once: str = "") -> str:
    """What there is of a run that has ended early, and how to go on with it, `once` something is mended."""
    if not (folder / CONFIG).exists():
        taken_back(folder, BEGINNING)
        return "nothing has been run"
    student = folder / STUDENT
    look = (
        f"the student of the last epoch is {student} (dfmf evaluate {folder}); " if student.exists() else ""
    )
    return f"{look}{once}to go on: {command} --resume {folder}"


def _shipper(
    config: RunConfig, folder: Path, resumed: bool, say: Callable[[str], None], tags: Mapping[str, str]
) -> shipping.Shipper | None:
    if not config.tracking.enabled:
        return None
    uri = tracking_uri(config.tracking, folder.parent if resumed else Path(config.output))
    register_as = config.tracking.register_as or ""
    given = uri if config.tracking.uri else None
    known = shipping.resume(folder, given, say, register_as) if resumed else None
    if known is not None:
        return known
    params = {
        name: value for name, value in flat(json.loads(config.model_dump_json())).items() if value is not None
    }
    commit = git_commit()
    own = {"dfmf.folder": str(folder), **({"mlflow.source.git.commit": commit} if commit else {})}
    experiment = config.tracking.experiment
    return shipping.start(folder, uri, experiment, params, {**own, **tags}, say, register_as)
