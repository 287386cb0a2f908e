"""What a run that is gone on with has in its folder, and must have in common with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.config import RunConfig
from orchestrator.environment import ENVIRONMENT, environment
from orchestrator.errors import UserError
from orchestrator.identity import check_identity, deciding, pretraining
from orchestrator.loading import dump_config, load_config
from orchestrator.run_folder import write_json, write_text
from orchestrator.secrets import HIDDEN
from orchestrator.storage import open_storage

CONFIG = "config.yaml"


def own_folder(resume: Path | str) -> Path:
    """Where a run's folder is, by whatever links and dots it is named.

    Raises:
        UserError: that cannot be a path.
    """
    try:
        return Path(resume).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # The last is of links in a ring.
        raise UserError(f"--resume: cannot read {resume}: {getattr(error, 'strerror', error)}") from error


def own_config(folder: Path) -> str:
    """The configuration of the run in `folder`.

    Raises:
        UserError: there is no run.
    """
    file = folder / CONFIG
    try:
        file.stat()
    except FileNotFoundError as error:
        raise UserError(f"--resume: {folder} holds no run ({CONFIG} is missing)") from error
    except (OSError, ValueError) as error:
        raise UserError(f"--resume: cannot read {folder}: {getattr(error, 'strerror', error)}") from error
    return str(file)


def write_beginning(folder: Path, config: RunConfig) -> None:
    """What makes a folder that of a run, which can be gone on with."""
    write_text(folder / CONFIG, dump_config(config))
    write_json(folder / ENVIRONMENT, environment())


def check_begun(folder: Path, config: RunConfig) -> None:
    """What decides the result must be as when the run in `folder` began, also before its first checkpoint.

    Raises:
        UserError: there is no run, or one of another configuration (names the keys that differ), or one whose
        checkpoints are not where `config` has them.
    """
    file = own_config(folder)
    before = load_config(file)
    check_same(before, config, file)
    _check_place(folder, before.checkpoint.to, config.checkpoint.to)


def _check_place(folder: Path, before: str | None, now: str | None) -> None:
    """A run must not begin anew because its checkpoints are not where it is told to write the next."""
    if before == now:
        return
    try:
        old, new = (open_storage(place or str(folder / "checkpoints")) for place in (before, now))
        left_behind = bool(old.folders()) and not new.folders()
    except (OSError, UserError):
        return  # What cannot be read holds nothing to go on from.
    if left_behind:
        raise UserError(
            f"checkpoint.to: {new.where} holds no checkpoint; this run's are in {old.where}: "
            "leave it as it was, or copy them"
        )


def check_same(before: RunConfig, config: RunConfig, where: str) -> None:
    """Two configurations may differ in what decides nothing; teachers are compared by their weights, later.

    Raises:
        UserError: names the keys that differ.
    """
    theirs, ours = deciding(before), deciding(config)
    if before.teachers is None and config.teachers is None:
        theirs, ours = {**theirs, **pretraining(before)}, {**ours, **pretraining(config)}
    hidden = {key for key, value in theirs.items() if HIDDEN in str(value)}
    check_identity(_but(theirs, hidden), _but(ours, hidden), where)


def _but(tree: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if key not in keys}
