"""The reference engine: `fusion.algorithm` in this process, without Ray."""

import torch

from fusion.algorithm import fuse, warm_up
from fusion.assembly import build_party, build_student, student_spec
from fusion.compute import own_rounding
from fusion.epoch import EpochReport, epoch_report, party_metrics, to_uint8
from fusion.health import check_epoch, check_iteration
from fusion.pretraining import train_classifier
from orchestrator.engines import WARMUP_EPOCH, Course, Fused, Hardware, Job, Observer
from orchestrator.environment import processor
from orchestrator.snapshot import PartySnapshot, Snapshot


class LocalEngine:
    """Everything in this process with `threads` threads, on the GPU if PyTorch sees one."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def hardware(self) -> Hardware:
        """The GPU or the processor."""
        name = torch.cuda.get_device_name() if self._device.type == "cuda" else processor()
        return Hardware(parties=name, lessons=name)

    def pretrain(self, course: Course) -> None:
        """One after the other."""
        recipe = course.recipe
        for index, lesson in enumerate(course.lessons):
            with own_rounding(self._device):
                classifier = train_classifier(
                    lesson.network,
                    lesson.spec,
                    lesson.train.images,
                    lesson.train.labels,
                    recipe,
                    seed=course.seed,
                    name=lesson.name,
                    device=self._device,
                    observe=lambda epoch, index=index: course.advanced(  # type: ignore[misc]
                        "pretraining", index * recipe.epochs + epoch + 1, course.epochs
                    ),
                )
            weights = {name: tensor.cpu() for name, tensor in classifier.network.state_dict().items()}
            course.taught(lesson, weights)

    def fuse(self, job: Job, observer: Observer) -> Fused:
        """Algorithm 1, from `job.start` on.

        Raises:
            Diverged: its numbers are no good.
            KeyboardInterrupt: it was to stop; the snapshot of the last iteration has been kept, if that was
            over in time.
        """
        with own_rounding(self._device):
            run = _Run(job, observer, self._device)
            with job.stopping.deferred():
                run.warm_up()
                run.main_phase()
        return run.fused()


class _Run:
    """The objects of one fusion, and what is told of it."""

    def __init__(self, job: Job, observer: Observer, device: torch.device) -> None:
        self._job, self._observer = job, observer
        self._schedule, self._names = job.settings.schedule, job.names
        spec = student_spec(job.teachers, job.settings.classes)
        self._parties = [
            build_party(index, len(job.teachers), teacher, job.settings, device, spec)
            for index, teacher in enumerate(job.teachers)
        ]
        self._student = build_student(job.teachers, job.settings, device)
        start = job.start
        self._warmed = {index: one.warmup_steps for index, one in start.parties.items()}
        self._warmup_metrics = {index: dict(one.metrics) for index, one in start.parties.items()}
        self._done = start.iterations
        self._records = [dict(one) for one in start.records]
        if start.student is not None:
            self._student.restore(start.student)
        for index, one in start.parties.items():
            self._parties[index].restore(one.state)
        if start.student is not None:
            self._catch_up(start)
        self._interval = job.keeper.interval()

    def _catch_up(self, start: Snapshot) -> None:
        """Bring parties that are behind the student to where it is; it has had their images."""
        warm_up(self._parties, self._schedule, first=self._warmed)
        self._warmed = dict.fromkeys(range(len(self._parties)), self._schedule.warmup_steps)
        for index, party in enumerate(self._parties):
            known = start.parties.get(index)
            for iteration in range(known.iterations if known else 0, start.iterations):
                party.step(iteration)
            party.meter.take()

    def warm_up(self) -> None:
        """Lines 3-10 of Algorithm 1, or what is left of them."""
        steps, epoch = self._schedule.warmup_steps, self._schedule.iterations_per_epoch
        if self._job.start.student is not None:
            return

        def after(index: int, done: int) -> None:
            self._warmed[index] = done
            self._observer.advanced("warm-up", sum(self._warmed.values()), steps * len(self._parties))
            if done % epoch == 0:
                metrics = self._parties[index].meter.take()
                self._warmup_metrics[index] = metrics
                check_iteration(party_metrics([self._names[index]], [metrics]), done - 1, self._job.limits)
                self._keep_if_due(done, done == steps and index == len(self._parties) - 1, since=epoch)
            self._stop_if_asked()

        warm_up(self._parties, self._schedule, after, dict(self._warmed))
        metrics = [self._warmup_metrics.get(index, {}) for index in range(len(self._parties))]
        samples = {
            name: to_uint8(party.preview()) for name, party in zip(self._names, self._parties, strict=True)
        }
        self._observer.epoch(
            EpochReport(
                epoch=WARMUP_EPOCH,
                metrics=party_metrics(self._names, metrics),
                accuracy=None,
                samples=samples,
            )
        )

    def main_phase(self) -> None:
        """Lines 11-31, or what is left of them."""
        fuse(self._parties, self._student, self._schedule, self._after_iteration, self._done)

    def fused(self) -> Fused:
        """What the run leaves."""
        return Fused(
            student=self._student.classifier.network.state_dict(),
            vids=self._student.learner.vids.state_dict(),
            parties=[
                {role: module.state_dict() for role, module in party.modules().items()}
                for party in self._parties
            ],
            iterations=self._done,
        )

    def _after_iteration(self, done: int) -> None:
        self._done = done
        metrics = party_metrics(self._names, [party.meter.take() for party in self._parties])
        self._records.append(metrics | self._student.meter.take())
        check_iteration(self._records[-1], done - 1, self._job.limits)
        self._observer.advanced("fusion", done, self._schedule.iterations)
        if done % self._schedule.iterations_per_epoch == 0:
            epoch = done // self._schedule.iterations_per_epoch - 1
            report = epoch_report(epoch, self._records, self._student, self._job.evaluation)
            check_epoch(report.metrics, epoch, done - 1, self._job.limits)
            self._observer.epoch(report)
            self._observer.student(self._student.classifier.network.state_dict(), done)
            self._records.clear()
        self._keep_if_due(done, done == self._schedule.iterations)
        self._stop_if_asked()

    def _keep_if_due(self, done: int, always: bool, since: int = 1) -> None:
        if (self._interval.due(done, since) or always) and not self._job.stopping.requested:
            self._job.keeper.keep(self._snapshot(), self._names)

    def _stop_if_asked(self) -> None:
        if self._job.stopping.requested:
            self._job.keeper.keep(self._snapshot(), self._names)
            raise KeyboardInterrupt

    def _snapshot(self) -> Snapshot:
        in_warmup = self._done == 0
        return Snapshot(
            iterations=self._done,
            student=None if in_warmup else self._student.state(),
            records=[dict(one) for one in self._records],
            rewinds=self._job.settings.rewinds,
            parties={
                index: PartySnapshot(
                    warmup_steps=self._warmed.get(index, 0),
                    iterations=self._done,
                    state=party.state(),
                    metrics=self._warmup_metrics.get(index, {}) if in_warmup else {},
                )
                for index, party in enumerate(self._parties)
                if index in self._warmed or not in_warmup
            },
        )
