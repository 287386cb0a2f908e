"""One run in its folder, after everything that can be wrong with the input has been checked."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fusion.assembly import student_spec
from fusion.batchnorm import bn_layers
from fusion.data.labelled import LabelledImages
from fusion.synthesis import held_out_images
from fusion.teachers import Teacher
from orchestrator import journal
from orchestrator.card import model_card
from orchestrator.config import RunConfig
from orchestrator.engines import Engine, Fused, Job, Lesson
from orchestrator.environment import environment
from orchestrator.errors import Interrupted
from orchestrator.loading import dump_config
from orchestrator.progress import Display
from orchestrator.recording import STUDENT, Recorder, flat_summary, teacher_hash
from orchestrator.results import (
    References,
    gap_closed,
    measure_references,
    measure_student,
    unmeasured_student,
)
from orchestrator.run_folder import write_json, write_text
from orchestrator.teachers import (
    GOLD_STANDARD,
    write_teachers,
)
from orchestrator.tracking import Tracker

ARTIFACTS = [
    "config.yaml",
    "summary.json",
    "MODEL_CARD.md",
    "environment.json",
    journal.TABLE,
    "plots",
    "teachers",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FusionResult:
    """Where a fusion's results lie, and the content of its summary.json."""

    folder: Path
    summary: dict[str, Any]


class Run:
    """One fusion in its folder, after everything that can be wrong with the input has been checked."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        display: Display,
        tracker: Tracker | None,
        engine: Engine,
        started: float,
        teachers: list[Teacher] | None,
        todo: list[Lesson],
        test: LabelledImages | None,
    ) -> None:
        self.config = config
        self.folder = folder
        self.display = display
        self.tracker = tracker
        self.engine = engine
        self.started = started
        self.given_teachers = teachers
        self.todo = todo
        self.test = test
        self.settings = config.fusion_settings()

    def fuse(self) -> FusionResult:
        """All of it, with MLflow's run ended in every case."""
        status = "FAILED"
        try:
            result, interrupted = self._fuse()
            status = "KILLED" if interrupted else "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            if self.tracker is not None:
                self.tracker.finish(status)
        if interrupted:
            raise Interrupted(self._what_is_kept(result.summary["iterations"]))
        return result

    def pretrain_and_measure(self) -> FusionResult:
        """The teachers alone: their files, and a summary of how good they are."""
        self._begin()
        teachers, gold = self._pretrain()
        references = self._measure(teachers, gold)
        summary = {
            "teachers": references.teachers,
            "ensemble": references.ensemble,
            **({"gold_standard": references.gold_standard} if references.gold_standard else {}),
            "seconds": round(time.monotonic() - self.started, 1),
            "seed": self.config.seed,
            "status": "finished",
        }
        write_json(self.folder / "summary.json", summary)
        return FusionResult(folder=self.folder, summary=summary)

    def _fuse(self) -> tuple[FusionResult, bool]:
        self._begin()
        teachers, gold = (self.given_teachers, None) if self.given_teachers is not None else self._pretrain()
        _say_batch_norms(teachers, self.display.said)
        references = self._measure(teachers, gold)
        recorder = Recorder(
            self.folder,
            self.display,
            self.tracker,
            self.config.student,
            student_spec(teachers),
            self.config.schedule.iterations_per_epoch,
        )
        job = Job(teachers=teachers, settings=self.settings, evaluation=self.test, folder=self.folder)
        try:
            fused = self.engine.fuse(job, recorder)
        except KeyboardInterrupt:
            fused = Fused(student={}, vids={}, parties=[], iterations=0, interrupted=True)
        return self._finish(fused, recorder, references, teachers), fused.interrupted

    def _begin(self) -> None:
        write_text(self.folder / "config.yaml", dump_config(self.config))
        write_json(self.folder / "environment.json", environment())
        self.display.said(f"results go to {self.folder}")

    def _measure(self, teachers: list[Teacher], gold: Teacher | None) -> References:
        hashes = {teacher.name: teacher_hash(teacher) for teacher in teachers}
        return measure_references(
            teachers, self.settings.teacher_weights(len(teachers)), gold, self.test, hashes
        )

    def _pretrain(self) -> tuple[list[Teacher], Teacher | None]:
        assert self.config.pretrain is not None
        todo = self.todo
        trained = self.engine.pretrain(
            todo, self.config.pretrain.recipe, self.config.seed, self.display.advanced
        )
        everyone = [
            Teacher(name=lesson.name, network=lesson.network, spec=lesson.spec, weights=weights)
            for lesson, weights in zip(todo, trained, strict=True)
        ]
        write_teachers(everyone, todo, self.folder / "teachers")
        gold = everyone.pop() if everyone[-1].name == GOLD_STANDARD else None
        return everyone, gold

    def _finish(
        self,
        fused: Fused,
        recorder: Recorder,
        references: References,
        teachers: list[Teacher],
    ) -> FusionResult:
        """Write everything that the run leaves. After an interruption the student is not measured again:
        that is quick."""
        if fused.student:
            recorder.student(fused.student, fused.iterations)
        self._write_parties(fused, teachers)
        test, weights = self.test, self.settings.teacher_weights(len(teachers))
        if fused.interrupted:
            entry = unmeasured_student(self.config.student)
        else:
            generators = [roles["generator"] for roles in fused.parties]
            synthetic = held_out_images(generators, teachers[0].spec, self.settings) if test is None else None
            student = recorder.as_teacher(fused.student)
            entry = measure_student(student, references, test, synthetic, teachers, weights)
        summary: dict[str, Any] = {
            "teachers": references.teachers,
            "ensemble": references.ensemble,
            "student": entry,
            **({"gold_standard": references.gold_standard} if references.gold_standard else {}),
            "gap_closed": gap_closed(references, entry),
            "seconds": round(time.monotonic() - self.started, 1),
            "seed": self.config.seed,
            "iterations": fused.iterations or recorder.iterations,
            "status": "interrupted" if fused.interrupted else "finished",
            "mlflow_run_id": self.tracker.run_id if self.tracker else None,
        }
        write_json(self.folder / "summary.json", summary)
        journal.write_table(self.folder)
        if not fused.interrupted:
            recorder.plots(summary)
            card = model_card(self.folder.name, self.config.student, student_spec(teachers), summary)
            write_text(self.folder / "MODEL_CARD.md", card)
            self._track(recorder, summary, student_spec(teachers))
        return FusionResult(folder=self.folder, summary=summary)

    def _write_parties(self, fused: Fused, teachers: list[Teacher]) -> None:
        from safetensors.torch import save_file

        for teacher, roles in zip(teachers, fused.parties, strict=False):
            target = self.folder / "parties" / teacher.name
            target.mkdir(parents=True, exist_ok=True)
            for role, tensors in roles.items():
                save_file(
                    {name: one.contiguous().cpu() for name, one in tensors.items()},
                    target / f"{role}.safetensors",
                )

    def _track(self, recorder: Recorder, summary: dict[str, Any], spec: Any) -> None:
        if self.tracker is None:
            return
        self.tracker.log_epoch(len(recorder.accuracies), flat_summary(summary), int(time.time() * 1000))
        self.tracker.log_folder(self.folder, ARTIFACTS)
        self.tracker.log_student(self.folder, spec.channels, spec.size, len(spec.classes))
        if self.tracker.trouble:
            self.display.said(self.tracker.trouble)

    def _what_is_kept(self, iterations: int) -> str:
        if not (self.folder / STUDENT).exists():
            return f"stopped before the first epoch was over; what there is lies in {self.folder}"
        return (
            f"stopped; the student after {iterations} iterations is {self.folder / STUDENT}; "
            f"look at it with: dfmf evaluate {self.folder}"
        )


def _say_batch_norms(teachers: list[Teacher], say: Callable[[str], None]) -> None:
    """The BN loss exists only for teachers with BatchNorm; its absence must not go unnoticed."""
    without = [teacher.name for teacher in teachers if not bn_layers(teacher.build())]
    for name in without:
        say(f"{name} has no BatchNorm: its generator is trained without the BN loss")
    if len(without) == len(teachers):
        say(
            "warning: no teacher has BatchNorm; without any BN loss the synthetic images are likely to be "
            "poor"
        )
