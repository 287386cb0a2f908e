"""What a run starts from, what it leaves, and what it says on the way."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fusion.batchnorm import bn_layers
from fusion.data.labelled import LabelledImages
from fusion.teachers import Teacher
from orchestrator.engines import Fused, Lesson
from orchestrator.recording import Recorder
from orchestrator.results import References, gap_closed
from orchestrator.run_folder import write_bytes
from orchestrator.snapshot import Snapshot, Spent
from orchestrator.storage import Storage


@dataclasses.dataclass(frozen=True, kw_only=True)
class FusionResult:
    """Where a fusion's results lie, and the content of its summary.json."""

    folder: Path
    summary: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a run starts from."""

    teachers: list[Teacher] | None
    """Those that the configuration names."""
    todo: list[Lesson]
    """Those that have to be pretrained."""
    test: LabelledImages | None
    storage: Storage
    """Where the checkpoints go."""
    resumed: bool
    """Whether the folder holds the beginning of this run."""


class Stopwatch:
    """How long a run takes, in all its starts."""

    def __init__(self, started: float) -> None:
        """`started`: when this one began, on the monotonic clock."""
        self._started = started
        self.before = Spent()
        """Of the starts before it."""

    def spent(self, recorder: Recorder | None) -> Spent:
        """Up to now; `recorder` knows when the first iteration was over, if it was in this start."""
        to_first = self.before.to_first_iteration
        if to_first is None and recorder is not None and recorder.first_iteration is not None:
            to_first = self._seconds(recorder.first_iteration)
        return Spent(seconds=self._seconds(time.monotonic()), to_first_iteration=to_first)

    def _seconds(self, now: float) -> float:
        return round(self.before.seconds + now - self._started, 1)


def write_parties(fused: Fused, teachers: Sequence[Teacher], folder: Path) -> None:
    """The generator, the assistant and the VID part of every party."""
    from safetensors.torch import save

    for teacher, roles in zip(teachers, fused.parties, strict=True):
        target = folder / "parties" / teacher.name
        for role, tensors in roles.items():
            data = save({name: one.contiguous().cpu() for name, one in tensors.items()})
            write_bytes(target / f"{role}.safetensors", data)


def scores_of(references: References) -> dict[str, Any]:
    """What stands in every summary of what the student is measured against."""
    gold = {"gold_standard": references.gold_standard} if references.gold_standard else {}
    return {"teachers": references.teachers, "ensemble": references.ensemble, **gold}


def summary_of(references: References, student: dict[str, Any]) -> dict[str, Any]:
    """What stands in a summary of who was measured, the gold standard last."""
    scores = scores_of(references)
    gold = {"gold_standard": scores.pop("gold_standard")} if "gold_standard" in scores else {}
    return {**scores, "student": student, **gold, "gap_closed": gap_closed(references, student)}


def where(snapshot: Snapshot) -> str:
    """From where a run goes on."""
    if snapshot.student is not None:
        return f"from iteration {snapshot.iterations}"
    return "from within the warm-up" if snapshot.parties else "from the beginning"


def say_batch_norms(teachers: list[Teacher], say: Callable[[str], None]) -> None:
    """The BN loss exists only for teachers with BatchNorm; its absence must not go unnoticed."""
    without = [teacher.name for teacher in teachers if not bn_layers(teacher.build())]
    for name in without:
        say(f"{name} has no BatchNorm: its generator is trained without the BN loss")
    if len(without) == len(teachers):
        say(
            "warning: no teacher has BatchNorm; without any BN loss the synthetic images are likely to be "
            "poor"
        )
