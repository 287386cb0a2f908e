"""Finished fusions on disk: found in folders of runs and sweeps, and read back."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fusion.assembly import FusionSettings
from fusion.synthesis import check_maker, held_out_images
from fusion.teachers import Teacher
from orchestrator.config import RunConfig
from orchestrator.errors import user_error
from orchestrator.evaluating import load_classifier, teachers_of
from orchestrator.loading import load_config
from orchestrator.recording import STUDENT
from orchestrator.run_folder import finished_summary

SWEEP = "sweep.json"


class _Trial(BaseModel):
    folder: str
    status: str


class _Sweep(BaseModel):
    trials: list[_Trial]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A fusion that is over; its classifiers are read when they are asked for."""

    folder: Path
    config: RunConfig
    summary: dict[str, Any]

    @property
    def settings(self) -> FusionSettings:
        """What decided its result, besides the teachers."""
        return self.config.fusion_settings()

    def student(self) -> Teacher:
        """The fused classifier.

        Raises:
            UserError: it is missing or damaged.
        """
        return load_classifier(self.folder / STUDENT)

    def teachers(self) -> list[Teacher]:
        """The parties' classifiers.

        Raises:
            UserError: one is missing or damaged.
        """
        return teachers_of(self.folder, self.config)[0]

    def makers(self, teachers: Sequence[Teacher]) -> list[dict[str, Tensor]]:
        """The state of each teacher's generator, or bank, by `Method.images_from`.

        Raises:
            UserError: one is missing or damaged.
        """
        part = self.config.method.images_from
        states = [_part(self.folder / "parties" / one.name / f"{part}.safetensors") for one in teachers]
        try:
            for one, state in zip(teachers, states, strict=True):
                check_maker(state, one.spec, self.settings)
        except (RuntimeError, KeyError) as error:
            raise user_error(
                f"{self.folder}: parties: not the weights of the {part}s that config.yaml describes"
            ) from error
        return states

    def images(self, teachers: Sequence[Teacher]) -> list[Tensor]:
        """The held-out images of each teacher's generator, or bank: uint8 [count, channels, size, size].

        Raises:
            UserError: a generator, or bank, is missing or damaged.
        """
        states = self.makers(teachers)
        together = held_out_images(states, [one.spec for one in teachers], self.settings)
        return list(together.chunk(len(teachers)))


def find_runs(targets: Sequence[Path]) -> list[FinishedRun]:
    """The fusions in `targets`, folders of runs or of sweeps, each once; of a sweep its finished trials.

    Raises:
        UserError: a folder holds no finished fusion, or is damaged; there is none at all.
    """
    folders: dict[Path, Path] = {}
    for target in targets:
        for folder in _finished_trials(target) if _is_sweep(target) else [target]:
            folders.setdefault(folder.resolve(), folder)
    if not folders:
        raise user_error(f"{', '.join(map(str, targets))}: none of the trials is finished")
    return [read_run(folder) for folder in folders.values()]


def read_run(folder: Path) -> FinishedRun:
    """The fusion in `folder`.

    Raises:
        UserError: it is not finished, or damaged.
    """
    summary = finished_summary(folder)
    if summary is None:
        raise user_error(f"{folder}: no finished run (by its summary.json) and no sweep (no {SWEEP})")
    if not isinstance(summary.get("student"), dict):
        raise user_error(f"{folder}: holds teachers alone, no fusion")
    return FinishedRun(folder=folder, config=load_config(str(folder / "config.yaml")), summary=summary)


def _is_sweep(folder: Path) -> bool:
    try:
        return (folder / SWEEP).exists()
    except OSError as error:
        raise user_error(f"{folder}: {error.strerror}") from error


def _finished_trials(folder: Path) -> list[Path]:
    path = folder / SWEEP
    try:
        sweep = _Sweep.model_validate_json(path.read_bytes())
    except OSError as error:
        raise user_error(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise user_error(f"{path}: damaged: {where + ': ' if where else ''}{first['msg']}") from error
    return [folder / one.folder for one in sweep.trials if one.status == "finished"]


def _part(path: Path) -> dict[str, Tensor]:
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        reason = "no such file" if not path.exists() else "damaged"
        raise user_error(f"{path}: {reason}") from error
    if not all(bool(torch.isfinite(one).all()) for one in state.values()):
        raise user_error(f"{path}: damaged; it holds values that are not finite")
    return state
