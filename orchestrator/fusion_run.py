"""One run in its folder, after everything that can be wrong with the input has been checked."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusion.assembly import student_spec
from fusion.batchnorm import bn_layers
from fusion.data.labelled import LabelledImages
from fusion.generator import Generator
from fusion.seeding import random_stream
from fusion.teachers import Teacher
from orchestrator import journal
from orchestrator.card import model_card
from orchestrator.config import RunConfig
from orchestrator.distributed import ActorLost
from orchestrator.engines import Engine, Fused, Job, Lesson
from orchestrator.environment import environment
from orchestrator.errors import Interrupted, RunFailed
from orchestrator.loading import dump_config
from orchestrator.plots import plot_subsets
from orchestrator.progress import Display
from orchestrator.recording import STUDENT, Recorder, flat_summary, teacher_hash
from orchestrator.results import References, gap_closed, measure_references, measure_student
from orchestrator.run_folder import write_json, write_text
from orchestrator.teachers import (
    GOLD_STANDARD,
    write_teachers,
)
from orchestrator.tracking import Tracker

SYNTHETIC_IMAGES = 512
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
        except ActorLost as error:
            write_text(self.folder / "error.txt", f"{error}\n\n{error.__cause__}\n")
            raise RunFailed(f"{error}; the details and what was computed are in {self.folder}") from error
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
        job = Job(teachers=teachers, settings=self.settings, evaluation=self.test)
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
            entry: dict[str, Any] = {"network": self.config.student, "accuracy": None, "agreement": None}
            entry |= {
                "agreement_on": "nothing",
                "macs": 0,
                "parameters": 0,
                "per_class": None,
                "per_subset": None,
            }
        else:
            synthetic = _synthetic_images(fused, teachers, self.config) if test is None else None
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
            self._write_pictures(recorder, summary)
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

    def _write_pictures(self, recorder: Recorder, summary: dict[str, Any]) -> None:
        compared = {one["name"]: one for one in summary["teachers"]}
        compared |= {"ensemble": summary["ensemble"], "student": summary["student"]}
        if "gold_standard" in summary:
            compared["gold standard"] = summary["gold_standard"]
        measured = {name: one for name, one in compared.items() if one["accuracy"] is not None}
        recorder.plots({name: one["accuracy"] for name, one in measured.items() if name != "student"})
        if measured:
            plot_subsets(
                self.folder / "plots" / "class-subsets.png",
                {name: one["per_subset"] for name, one in measured.items()},
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


@torch.no_grad()
def _synthetic_images(fused: Fused, teachers: list[Teacher], config: RunConfig) -> Tensor:
    """Images of all generators from noise that no training saw, as uint8; to compare student and ensemble
    on."""
    parts = []
    for index, (teacher, roles) in enumerate(zip(teachers, fused.parties, strict=True)):
        generator = Generator(config.generator, teacher.spec)
        generator.load_state_dict(dict(roles["generator"]))
        stream = random_stream(torch.device("cpu"), config.seed, "held-out", index)
        noise = torch.randn(SYNTHETIC_IMAGES, config.generator.latent_dim, generator=stream)
        images = generator.train(config.generator.sampling == "batch")(noise)
        parts.append((images.clamp(0, 1) * 255).round().to(torch.uint8))
    return torch.cat(parts)
