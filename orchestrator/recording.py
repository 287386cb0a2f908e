"""Everything a run writes while it goes on: its journal, its pictures, its student."""

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from fusion.epoch import EpochReport
from fusion.networks import ImageSpec
from fusion.teachers import Teacher, save_teacher
from orchestrator import journal
from orchestrator.engines import WARMUP_EPOCH, Weights
from orchestrator.plots import image_grid, plot_accuracy, plot_metrics, plot_subsets
from orchestrator.progress import Display

STUDENT = "student.safetensors"

Reported: TypeAlias = Callable[[int, Mapping[str, float]], None]
"""Hears the number of each epoch, from 1, and its metrics, when everything of it is in the run's folder."""


class Recorder:
    """Hears an engine (`orchestrator.engines.Observer`) and keeps what it says in the run's folder."""

    def __init__(
        self,
        folder: Path,
        display: Display,
        notify: Callable[[], None],
        network: str,
        spec: ImageSpec,
        epoch_length: int,
        reported: Reported,
    ) -> None:
        """`notify` is called when there is something new in the folder."""
        self.folder = folder
        self.accuracies: list[float] = []
        self.iterations = 0
        self.first_iteration: float | None = None
        """When it was known to be over, on the monotonic clock."""
        self._display = display
        self._notify = notify
        self._network = network
        self._spec = spec
        self._epoch_length = epoch_length
        self._reported = reported
        self._newest: tuple[int, Mapping[str, float]] = (0, {})
        self._curves: dict[str, list[float]] = {}

    def said(self, line: str) -> None:
        """Something a person should know."""
        self._display.said(line)

    def advanced(self, phase: str, done: int, total: int) -> None:
        """So much of a phase is done."""
        if phase == "fusion" and done > 0 and self.first_iteration is None:
            self.first_iteration = time.monotonic()
        self._display.advanced(phase, done, total)

    def epoch(self, report: EpochReport) -> None:
        """Sample grids and a line of the journal."""
        number = report.epoch + 1
        iteration = number * self._epoch_length
        metrics = dict(report.metrics)
        if report.accuracy is not None:
            metrics["eval/accuracy"] = report.accuracy
        (self.folder / "samples").mkdir(exist_ok=True)
        for name, images in report.samples.items():
            image_grid(images).save(self.folder / "samples" / f"{name}-epoch-{number:04d}.png")
        journal.append_epoch(self.folder, number, iteration, metrics)
        self._note(number, metrics)
        self._newest = number, metrics
        self._notify()

    def go_back(self, epochs: int) -> None:
        """Be as after `epochs` epochs (-1: before the end of the warm-up), as the journal has it."""
        self._curves.clear()
        self.accuracies.clear()
        for one in journal.go_back(self.folder, epochs):
            self._note(one["epoch"], one["metrics"])
        self.iterations = max(epochs, 0) * self._epoch_length

    def student(self, weights: Weights, iterations: int) -> None:
        """Keep the student as it is now, so that a crash loses no finished epoch."""
        self.iterations = iterations
        save_teacher(self.as_teacher(weights), self.folder / STUDENT, iterations=iterations)
        if iterations == self._newest[0] * self._epoch_length:  # And not once more, at the end.
            self._reported(*self._newest)
            self._newest = (0, {})

    def _note(self, number: int, metrics: Mapping[str, float]) -> None:
        """For the plots, and for who looks on."""
        if number == WARMUP_EPOCH + 1:
            return
        for name, value in metrics.items():
            self._curves.setdefault(name, []).append(value)
        if "eval/accuracy" in metrics:
            self.accuracies.append(metrics["eval/accuracy"])
            self._display.note = f"student {self.accuracies[-1]:.1f} %"

    def as_teacher(self, weights: Weights) -> Teacher:
        """The student as any other classifier: it can be a teacher of the next fusion."""
        return Teacher(
            name="student",
            network=self._network,
            spec=self._spec,
            weights={name: tensor.detach().cpu() for name, tensor in weights.items()},
        )

    def plots(self, summary: Mapping[str, Any]) -> None:
        """The curves, and what is compared in the summary, as PNG."""
        folder = self.folder / "plots"
        folder.mkdir(exist_ok=True)
        student = summary["student"]
        compared = [(one["name"], one) for one in summary["teachers"]]  # One may be called "student".
        compared += [("ensemble", summary["ensemble"]), ("student", student)]
        if "gold_standard" in summary:
            compared.append(("gold standard", summary["gold_standard"]))
        measured = [(name, one) for name, one in compared if one["accuracy"] is not None]
        if measured:
            plot_subsets(folder / "class-subsets.png", [(name, one["per_subset"]) for name, one in measured])
        if self.accuracies:
            references = [(name, one["accuracy"]) for name, one in measured if one is not student]
            plot_accuracy(folder / "accuracy.png", self.accuracies, references)
        triples = [(name, values) for name, values in self._curves.items() if name.count("/") == 2]
        assisted = any(name.startswith("assistant/") for name in self._curves)
        critics = {
            "generator": "teacher-GA" if assisted else "teacher-critic",
            "student": "teacher-student",
        }
        adversarial = {
            f"{critics[role]}, {party}": values
            for (role, party, term), values in ((name.split("/"), values) for name, values in triples)
            if term == "adv"
        }
        if adversarial:
            plot_metrics(folder / "adversarial-loss.png", adversarial, "ADV loss, Eq. (5)")
        for role in ("generator", "assistant", "student"):
            curves = {
                name.removeprefix(f"{role}/"): values
                for name, values in self._curves.items()
                if name.startswith(f"{role}/") and not name.endswith("/adv")
            }
            if curves:
                plot_metrics(folder / f"{role}-losses.png", curves, "unweighted loss term")


def teacher_hash(teacher: Teacher) -> str:
    """SHA-256 of a classifier's weights as they would be written."""
    from safetensors.torch import save

    return hashlib.sha256(
        save({name: tensor.contiguous().cpu() for name, tensor in teacher.weights.items()})
    ).hexdigest()


def flat_summary(summary: dict[str, Any]) -> dict[str, float]:
    """The summary's headline numbers as metrics."""
    numbers = {
        "final/student_accuracy": summary["student"]["accuracy"],
        "final/ensemble_accuracy": summary["ensemble"]["accuracy"],
        "final/agreement": summary["student"]["agreement"],
        "final/gap_closed": summary["gap_closed"],
        "final/seconds": summary["seconds"],
        "final/rewinds": summary["rewinds"],
        "final/gold_standard_accuracy": summary.get("gold_standard", {}).get("accuracy"),
        **{f"final/teacher_accuracy/{one['name']}": one["accuracy"] for one in summary["teachers"]},
        **{f"final/criteria/{name}": value for name, value in summary["student"].get("criteria", {}).items()},
    }
    return {name: float(value) for name, value in numbers.items() if value is not None}
