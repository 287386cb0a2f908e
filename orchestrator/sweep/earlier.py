"""What a sweep's folder holds before the sweep begins."""

import contextlib
import dataclasses
from collections.abc import Iterable
from pathlib import Path

from orchestrator.config import RunConfig
from orchestrator.errors import UserError, user_error
from orchestrator.identity import check_identity
from orchestrator.loading import load_config
from orchestrator.lock import LOCK, locked
from orchestrator.secrets import redact
from orchestrator.sweep.board import SWEEP, Row, read_sweep
from orchestrator.sweep.paths import absolute
from orchestrator.sweep.space import Parameters
from orchestrator.sweep.study import Study
from orchestrator.tracking import flat

CONFIG = "config.yaml"
UNFINISHED = (f".{CONFIG}.", f".{SWEEP}.")
"""How files begin that are not whole yet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Earlier:
    """A sweep of the same configuration in the same folder, of other cases perhaps."""

    folder: Path
    parent: str | None
    """Its run in MLflow."""
    cases: dict[str, Parameters]
    seeds: list[int]
    rows: list[Row]

    def joined(self, study: Study) -> Study:
        """`study` as the folder describes it: with what it had."""
        own = study.space.cases
        others = {name: values for name, values in self.cases.items() if values not in own.values()}
        return dataclasses.replace(
            study,
            space=study.space.model_copy(update={"cases": {**others, **own}}),
            seeds=sorted({*self.seeds, *study.seeds}),
        )

    def rows_but(self, names: Iterable[str]) -> list[Row]:
        """Those of other trials than `names`, which stay as they are."""
        others = set(names)
        return [row for row in self.rows if row["name"] not in others]


def begun_before(config: RunConfig) -> Earlier | None:
    """The sweep of this name; None if there is none.

    Raises:
        UserError: it is of another configuration, or damaged.
    """
    assert config.name is not None
    folder = Path(config.output).absolute() / config.name
    try:
        if not (folder / SWEEP).exists():
            return None
    except OSError as error:
        raise user_error(f"output: {folder}: {error.strerror}") from error
    known = read_sweep(folder)
    before = load_config(str(folder / CONFIG))
    # What the folder holds was written without secrets.
    theirs, ours = (flat(redact(one.model_dump(mode="json"))) for one in (before, absolute(config)))
    try:
        check_identity(theirs, ours, str(folder))
    except UserError as error:
        raise UserError(f"{error}; choose another folder (name=ANOTHER)") from None
    try:
        return Earlier(
            folder=folder,
            parent=known["mlflow_run_id"],
            cases=dict(known["definition"].get("cases", {})),
            seeds=list(known["seeds"]),
            rows=list(known["trials"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / SWEEP}: is damaged ({type(error).__name__})") from error


def forget_start(folder: Path) -> None:
    """Take away the configuration that a start left which was stopped before it had planned anything; a
    folder that holds more stays as it is. The caller has locked it."""
    if _is_start(folder):
        for path in folder.iterdir():
            if path.name != LOCK:
                path.unlink()


def nothing_begun(folder: Path) -> bool:
    """Whether no trial has been planned; then `forget_start`."""
    if (folder / SWEEP).exists():
        return False
    forget_start(folder)
    return True


def forget_killed_start(folder: Path) -> None:
    """`forget_start` of one that was killed.

    Raises:
        UserError: somebody is at work there.
    """
    with contextlib.suppress(OSError):
        if folder.is_dir() and _is_start(folder):
            with locked(folder):
                forget_start(folder)


def _is_start(folder: Path) -> bool:
    return all(path.name in (CONFIG, LOCK) or path.name.startswith(UNFINISHED) for path in folder.iterdir())
