"""A run's folder in its checkpoints: where these lie elsewhere, they alone are enough to go on from."""

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.checkpoint_files import UNREADABLE, carried_files, in_words
from orchestrator.environment import ENVIRONMENT
from orchestrator.errors import UserError
from orchestrator.journal import JOURNAL
from orchestrator.loading import dump_config, overridden_config
from orchestrator.resuming import CONFIG, check_same
from orchestrator.run_folder import write_bytes
from orchestrator.sending import NOTE
from orchestrator.storage import LocalStorage, Storage, open_storage
from orchestrator.teachers import CANARIES
from orchestrator.tracking import is_gone
from orchestrator.transfer import FILE
from orchestrator.yaml_text import parse_yaml

FILES = (CONFIG, ENVIRONMENT, FILE, CANARIES, JOURNAL, NOTE, "teachers/*.*")
"""What a run that goes on reads or adds to. Pictures, and the student of the last epoch, are not needed."""
_PATH = re.compile(r"(teachers/)?\w[\w.-]*\.(yaml|json|jsonl|safetensors)", re.ASCII)


def carried(folder: Path) -> dict[str, bytes]:
    """The files that go into each checkpoint of the run in `folder`, by path, its own name first; what else
    lies among the teachers does not."""
    paths = [path for pattern in FILES for path in sorted(folder.glob(pattern)) if path.is_file()]
    within = {path.relative_to(folder).as_posix(): path for path in paths}
    name = _run_name(folder.name)
    return {f"{name}/{one}": path.read_bytes() for one, path in within.items() if _PATH.fullmatch(one)}


def is_storage(resume: Path | str) -> bool:
    """Whether that is where checkpoints lie, not the folder of a run.

    Raises:
        UserError: it cannot be read.
    """
    if "://" in str(resume):
        return True
    try:
        (Path(resume) / CONFIG).stat()
    except FileNotFoundError:
        return bool(_folders(LocalStorage(Path(resume))))
    except (OSError, ValueError) as error:
        raise UserError(f"--resume: cannot read {resume}: {getattr(error, 'strerror', error)}") from error
    return False


def recovered(place: str, overrides: Sequence[str], say: Callable[[str], None]) -> Path:
    """Make the folder again of the run whose checkpoints lie at `place`, as it was at the newest that is
    whole; those that are not are said and set aside. Its configuration has the overrides, and `place` as
    `checkpoint.to`.

    Raises:
        UserError: there is none, it does not carry its folder, the folder is still there, or the overrides
        make it another run.
    """
    name, files = _newest(open_storage(place), say)
    source = f"{place}: {CONFIG}"
    text = files[CONFIG].decode(errors="replace")
    config = overridden_config(parse_yaml(text, source), source, overrides)
    check_same(overridden_config(parse_yaml(text, source), source, ()), config, source)
    folder = Path(config.output).absolute() / (config.name or name)
    if folder.exists():
        raise UserError(
            f"--resume: the folder of the run at {place} is there; go on with: dfmf fuse --resume {folder} "
            f"(or give name=ANOTHER)"
        )
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for path, data in {**files, CONFIG: dump_config(config).encode()}.items():
            if path != NOTE or _can_be_known(data):
                write_bytes(temporary / path, data)
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(f"output: cannot write to {folder.parent}: {error.strerror}") from error
    return folder


def _newest(storage: Storage, say: Callable[[str], None]) -> tuple[str, dict[str, bytes]]:
    """The run's name, and its files by path in the folder; what does not belong there is left out."""
    try:
        for checkpoint in reversed(storage.folders()):
            try:
                files = {path.partition("/")[::2]: data for path, data in carried_files(storage, checkpoint)}
            except UNREADABLE as error:
                say(f"{checkpoint} is damaged ({in_words(error)}); using the one before")
                storage.set_aside(checkpoint)
                continue
            found = {path: data for (_, path), data in files.items() if _PATH.fullmatch(path)}
            if CONFIG in found:
                return _run_name(next(iter(files))[0]), found
            break
    except OSError as error:
        raise UserError(f"--resume: cannot read {storage.where}: {error.strerror or error}") from error
    raise UserError(
        f"--resume: {storage.where} holds no whole checkpoint that carries its run's folder, as those of a "
        f"run with checkpoint.to do"
    )


def _folders(storage: Storage) -> list[str]:
    try:
        return storage.folders()
    except OSError as error:
        raise UserError(f"--resume: cannot read {storage.where}: {error.strerror or error}") from error


def _run_name(folder: str) -> str:
    """What a run in a folder of any name may be called."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", folder).lstrip("._-")[:64] or "run"


def _can_be_known(note: bytes) -> bool:
    """Whether MLflow's run may be there still: a database in a folder that is lost is lost with it."""
    try:
        uri = str(json.loads(note)["uri"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
    return not is_gone(uri)
