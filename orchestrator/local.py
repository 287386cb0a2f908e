"""The reference engine: `fusion.algorithm` in this process, without Ray."""

from collections.abc import Sequence

import torch

from fusion.algorithm import fuse, warm_up
from fusion.assembly import build_party, build_student
from fusion.epoch import EpochReport, epoch_report, party_metrics, to_uint8
from fusion.pretraining import Recipe, train_classifier
from orchestrator.engines import WARMUP_EPOCH, Advanced, Fused, Job, Lesson, Observer, Weights


class LocalEngine:
    """Everything in this process with `threads` threads, on the GPU if PyTorch sees one."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def pretrain(
        self, lessons: Sequence[Lesson], recipe: Recipe, seed: int, advanced: Advanced
    ) -> list[Weights]:
        """One after the other."""
        weights: list[Weights] = []
        for index, lesson in enumerate(lessons):
            classifier = train_classifier(
                lesson.network,
                lesson.spec,
                lesson.train.images,
                lesson.train.labels,
                recipe,
                seed=seed,
                name=lesson.name,
                device=self._device,
                observe=lambda epoch, index=index: advanced(  # type: ignore[misc]
                    "pretraining", index * recipe.epochs + epoch + 1, len(lessons) * recipe.epochs
                ),
            )
            weights.append({name: tensor.cpu() for name, tensor in classifier.network.state_dict().items()})
        return weights

    def fuse(self, job: Job, observer: Observer) -> Fused:
        """Algorithm 1. An interruption is not caught here: the last epoch's student has been handed to
        `observer`."""
        schedule = job.settings.schedule
        names = [teacher.name for teacher in job.teachers]
        parties = [
            build_party(index, len(job.teachers), teacher, job.settings, self._device)
            for index, teacher in enumerate(job.teachers)
        ]
        student = build_student(job.teachers, job.settings, self._device)
        records: list[dict[str, float]] = []

        def after(done: int) -> None:
            records.append(
                party_metrics(names, [party.meter.take() for party in parties]) | student.meter.take()
            )
            observer.advanced("fusion", done, schedule.iterations)
            if done % schedule.iterations_per_epoch == 0:
                epoch = done // schedule.iterations_per_epoch - 1
                observer.epoch(epoch_report(epoch, records, student, job.evaluation))
                observer.student(student.classifier.network.state_dict(), done)
                records.clear()

        total = schedule.warmup_steps * len(parties)
        warm_up(parties, schedule, lambda done: observer.advanced("warm-up", done, total))
        observer.epoch(
            EpochReport(
                epoch=WARMUP_EPOCH,
                metrics=party_metrics(names, [party.meter.take() for party in parties]),
                accuracy=None,
                samples={name: to_uint8(party.preview()) for name, party in zip(names, parties, strict=True)},
            )
        )
        fuse(parties, student, schedule, after)
        return Fused(
            student=student.classifier.network.state_dict(),
            vids=student.learner.vids.state_dict(),
            parties=[
                {role: module.state_dict() for role, module in party.modules().items()} for party in parties
            ],
            iterations=schedule.iterations,
        )
