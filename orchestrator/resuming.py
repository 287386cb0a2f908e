"""What a run that is gone on with has in its folder, and must have in common with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.identity import check_identity, deciding, pretraining
from orchestrator.loading import load_config
from orchestrator.secrets import HIDDEN

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


def check_begun(folder: Path, config: RunConfig) -> None:
    """What decides the result must be as when the run in `folder` began, also before its first checkpoint.

    Raises:
        UserError: there is no run, or one of another configuration; names the keys that differ.
    """
    file = own_config(folder)
    check_same(load_config(file), config, file)


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
