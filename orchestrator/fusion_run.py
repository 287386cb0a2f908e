"""One run in its folder, after everything that can be wrong with the input has been checked."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fusion.assembly import student_spec
from fusion.health import Diverged
from fusion.synthesis import held_out_images
from fusion.teachers import Teacher
from orchestrator import journal
from orchestrator.card import model_card
from orchestrator.checkpoints import Checkpoints
from orchestrator.config import RunConfig
from orchestrator.engines import Engine, Fused, Job
from orchestrator.environment import moved
from orchestrator.errors import RunFailed
from orchestrator.identity import run_identity
from orchestrator.keeper import Keeper, keeper_for
from orchestrator.label_spaces import class_lines
from orchestrator.progress import Display
from orchestrator.recording import Recorder, Reported, teacher_hash
from orchestrator.recovering import carried
from orchestrator.results import References, measure_references, measure_student, unmeasured_student
from orchestrator.run_folder import finished_summary, write_json, write_text
from orchestrator.run_parts import (
    FusionResult,
    Inputs,
    Stopwatch,
    say_batch_norms,
    scores_of,
    summary_of,
    where,
    write_parties,
)
from orchestrator.schooling import pretrained
from orchestrator.secrets import redact
from orchestrator.sharing import WarmUps, shared_warm_up
from orchestrator.shipping import Shipper
from orchestrator.snapshot import FRESH, Snapshot
from orchestrator.stopping import Stopping
from orchestrator.transfer import with_transfer_set


class Run:
    """One fusion in its folder."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        display: Display,
        shipper: Shipper | None,
        engine: Engine,
        started: float,
        inputs: Inputs,
        stopping: Stopping,
        reported: Reported,
    ) -> None:
        self.config, self.folder, self.inputs = config, folder, inputs
        self.display, self.shipper, self.engine, self.stopping = display, shipper, engine, stopping
        self.watch, self.reported = Stopwatch(started), reported
        self.rewinds = 0
        self.settings = config.fusion_settings()

    def fuse(self) -> FusionResult:
        """All of it, with MLflow's run ended in every case."""
        status = "FAILED"
        try:
            return self._fuse()
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            if self.shipper is not None:  # Whatever comes after its summary, the run is finished.
                self.shipper.finish("FINISHED" if finished_summary(self.folder) else status)

    def pretrain_and_measure(self) -> FusionResult:
        """The teachers alone: their files, and a summary of how good they are."""
        self._begin()
        references = self._measure(*self._pretrain())
        summary = {
            **scores_of(references),
            "seconds": self.watch.spent(None).seconds,
            "seed": self.config.seed,
            "status": "finished",
        }
        return self._write(summary)

    def _fuse(self) -> FusionResult:
        self._begin()
        given = self.inputs.teachers
        teachers, gold = (given, None) if given is not None else self._pretrain()
        space = self.settings.space(teachers)
        for line in class_lines(space, teachers, self.inputs.test):
            self.display.said(line)
        say_batch_norms(teachers, self.display.said)
        references = self._measure(teachers, gold)
        notify = self.shipper.notify if self.shipper else lambda: None
        epoch_length = self.config.schedule.iterations_per_epoch
        spec = student_spec(teachers, self.config.classes)
        recorder = Recorder(
            self.folder, self.display, notify, self.config.student, spec, epoch_length, self.reported
        )
        identity = run_identity(self.config, references.teachers, [one.spec for one in teachers])
        where, keep = self.inputs.storage, self.config.checkpoint.keep
        # Checkpoints that lie elsewhere may outlive the folder.
        carry = dict if self.config.checkpoint.to is None else partial(carried, self.folder)
        spent = partial(self.watch.spent, recorder)
        checkpoints = Checkpoints(where, keep, identity, self.display.said, carry, spent)
        hardware = self.engine.hardware.parties
        with shared_warm_up(self.config, teachers, hardware, self.display.said) as shared:
            heard = shared.heard if shared is not None else None
            keeper = keeper_for(self.config, checkpoints, self.display.said, heard)
            try:
                fused = self._without_end(teachers, recorder, keeper, self._start(keeper, shared, teachers))
            except KeyboardInterrupt:
                keeper.flush()
                student = unmeasured_student(self.config.student)
                self._write(self._summary(recorder, references, student, "interrupted"))
                raise
        summary = self._finish(fused, recorder, references, teachers)
        keeper.flush()
        result = self._write(summary)  # Last: from here on nobody goes on with the run.
        checkpoints.clear()
        return result

    def _start(self, keeper: Keeper, shared: WarmUps | None, teachers: list[Teacher]) -> Snapshot:
        """From where the fusion goes on."""
        start = keeper.newest() if self.inputs.resumed else FRESH
        if self.inputs.resumed:
            self.watch.before = start.spent
            self.display.said(f"going on {where(start)}")
        start = with_transfer_set(
            self.config, teachers, self.inputs.test, start, keeper, self.folder, self.display.said
        )
        if shared is None:
            return start
        warm = shared.load() if start.student is None else start
        if warm is not None:
            shared.release()
        return warm or start

    def _without_end(
        self, teachers: list[Teacher], recorder: Recorder, keeper: Keeper, start: Snapshot
    ) -> Fused:
        """The fusion, which goes back as often as its numbers go wrong and the configuration allows."""
        while True:
            recorder.go_back(self._epochs(start))  # The journal must not be ahead of where the run goes on.
            self.rewinds = start.rewinds
            job = Job(
                teachers=teachers,
                settings=dataclasses.replace(self.settings, rewinds=start.rewinds),
                evaluation=self.inputs.test,
                folder=self.folder,
                start=start,
                keeper=keeper,
                limits=self.config.numerics.limits,
                stopping=self.stopping,
            )
            try:
                return self.engine.fuse(job, recorder)
            except Diverged as error:
                newest, numerics = keeper.newest(), self.config.numerics
                if numerics.policy == "stop" or start.rewinds >= numerics.rewinds:
                    raise RunFailed(
                        f"{error}; stopped with {start.rewinds} rewinds (numerics.policy is "
                        f"{numerics.policy!r}, numerics.rewinds {numerics.rewinds}); to go on "
                        f"{where(newest)} with other noise and smaller learning rates: dfmf fuse --resume "
                        f"{self.folder} numerics.policy=rewind "
                        f"numerics.rewinds={max(numerics.rewinds, start.rewinds + 1)}"
                    ) from error
                start = dataclasses.replace(newest, rewinds=start.rewinds + 1)
                self.display.said(
                    f"{error}; going back {where(start)}, with other noise and learning rates halved "
                    f"(rewind {start.rewinds} of at most {numerics.rewinds})"
                )
                keeper.keep(start, job.names)
                if self.shipper is not None:
                    self.shipper.go_back(self._epochs(start))

    def _epochs(self, start: Snapshot) -> int:
        """The epoch that is over there; 0: the warm-up, -1: nothing."""
        if start.student is None:
            return -1
        return start.iterations // self.config.schedule.iterations_per_epoch

    def _begin(self) -> None:
        for change in moved(self.folder) if self.inputs.resumed else ():
            self.display.said(f"{change}: the result may not have the bits of a run that stayed where it was")
        self.display.said(f"results go to {self.folder}")

    def _measure(self, teachers: list[Teacher], gold: Teacher | None) -> References:
        hashes = {teacher.name: teacher_hash(teacher) for teacher in teachers}
        measured = measure_references(teachers, self.settings, gold, self.inputs.test, hashes)
        for entry, source in zip(measured.teachers, self.config.teachers or (), strict=False):
            entry["source"] = redact(source.source)
        return measured

    def _pretrain(self) -> tuple[list[Teacher], Teacher | None]:
        todo, said = self.inputs.todo, self.display.said
        return pretrained(self.config, todo, self.folder, self.engine, self._pretrained_so_far, said)

    def _pretrained_so_far(self, phase: str, done: int, total: int) -> None:
        """In a process that has others, such as a sweep's trial, no signal interrupts the pretraining."""
        self.display.advanced(phase, done, total)
        if self.stopping.requested:
            raise KeyboardInterrupt

    def _finish(
        self, fused: Fused, recorder: Recorder, references: References, teachers: Sequence[Teacher]
    ) -> dict[str, Any]:
        """Write everything that the run leaves, but the summary, which is returned."""
        recorder.student(fused.student, fused.iterations)
        write_parties(fused, teachers, self.folder)
        makers = [roles[self.config.method.images_from] for roles in fused.parties]
        synthetic = held_out_images(makers, [one.spec for one in teachers], self.settings)
        student = recorder.as_teacher(fused.student)
        entry = measure_student(student, references, self.inputs.test, synthetic, teachers, self.settings)
        journal.write_table(self.folder)
        recorder.iterations = fused.iterations
        summary = self._summary(recorder, references, entry, "finished")
        recorder.plots(summary)
        write_text(
            self.folder / "MODEL_CARD.md",
            model_card(self.folder.name, student.network, student.spec, summary, self.config.method),
        )
        return summary

    def _summary(
        self, recorder: Recorder, references: References, student: dict[str, Any], status: str
    ) -> dict[str, Any]:
        spent = self.watch.spent(recorder)
        return summary_of(references, student) | {
            "seconds": spent.seconds,
            "seconds_to_first_iteration": spent.to_first_iteration,
            "seed": self.config.seed,
            "iterations": recorder.iterations,
            "rewinds": self.rewinds,
            "status": status,
            "mlflow_run_id": self.shipper.run_id if self.shipper else None,
        }

    def _write(self, summary: dict[str, Any]) -> FusionResult:
        write_json(self.folder / "summary.json", summary)
        return FusionResult(folder=self.folder, summary=summary)
