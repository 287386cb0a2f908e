"""Paths in configurations: two ways to write one place are no difference between runs."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.comparison.records import Run
from orchestrator.transfer import DATA, NOISE

_PATHS = re.compile(r"data\.(root|train|test)|method\.(sources|embeddings)|teachers\.\d+\.classes")


def started_in(folder: Path, output: str) -> Path | None:
    """The folder from which the run in `folder` was started, if its place under `output` tells."""
    above, parts = folder.resolve().parent.parts, Path(output).parts
    if Path(output).is_absolute() or ".." in parts or above[len(above) - len(parts) :] != parts:
        return None
    return Path(*above[: len(above) - len(parts)])


def with_common_paths(runs: Sequence[Run]) -> list[Run]:
    """The same runs, with each path as it is written in the first of them that names the same place.

    A sweep writes its paths from the root on, a fusion as they were given. These count from where it was
    started; if that is not known, a relative path is any that ends alike.
    """
    names = _Names()
    return [
        dataclasses.replace(
            run,
            config=names.common(run.config, run.started_in),
            sweep=run.sweep
            and dataclasses.replace(run.sweep, base=run.sweep.base and names.common(run.sweep.base, None)),
        )
        for run in runs
    ]


class _Names:
    """What each place is called."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._places: dict[str, list[tuple[str, Path | None]]] = {}
        """By name, the ways in which it has been written, and where that is."""
        self._root: str | None = None

    def common(self, config: Mapping[str, Any], start: Path | None) -> dict[str, Any]:
        found = dict(config)
        for key, value in config.items():
            if not _PATHS.fullmatch(key):
                continue
            if key == "data.root" and config["data.source"] != "folder":  # The same files anywhere.
                self._root = self._root or value
                found[key] = self._root
            elif isinstance(value, str):
                found[key] = self._name(value, start)
            elif isinstance(value, (list, tuple)) and key == "method.sources":
                found[key] = [one if one in (NOISE, DATA) else self._name(one, start) for one in value]
        return found

    def _name(self, written: str, start: Path | None) -> str:
        if written not in self._known:
            where = _whole(written, start)
            fitting = [
                name
                for name, ways in self._places.items()
                if all(_same(written, where, other, there) for other, there in ways)
            ]
            name = self._known[written] = fitting[0] if fitting else written
            self._places.setdefault(name, []).append((written, where))
        return self._known[written]


def _whole(written: str, start: Path | None) -> Path | None:
    """The path from the root on; None if that is not known."""
    if "://" in written or (start is None and not Path(written).is_absolute()):
        return None
    return Path(os.path.normpath(Path(start or "/", written)))


def _same(one: str, there: Path | None, other: str, elsewhere: Path | None) -> bool:
    if there is not None and elsewhere is not None:
        return there == elsewhere
    whole, loose = (there, other) if there is not None else (elsewhere, one)
    parts = Path(loose).parts
    return whole is not None and bool(parts) and whole.parts[-len(parts) :] == parts
