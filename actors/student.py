"""The student trainer as a Ray actor: it pulls the parties' images, a bounded number of iterations ahead."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from actors.feed import Feed
from actors.learning import Learning
from actors.process import Arrays, to_arrays, use_device
from fusion.assembly import FusionSettings, build_student
from fusion.data.labelled import LabelledImages
from fusion.epoch import EpochReport
from fusion.teachers import TeacherCard


class StudentWorker:
    """Trains on the union of what `groups` give (handles of `PartyActor`, by the parties that live in them).

    `teachers` that come with weights label the union here; of cards alone, the parties do
    (``labelling: parties``), while the student learns from the iteration before.
    """

    def __init__(
        self,
        teachers: Sequence[TeacherCard],
        settings: FusionSettings,
        groups: Mapping[tuple[int, ...], Any],
        prefetch: int,
        evaluation: LabelledImages | None,
        device: str,
        threads: int,
    ) -> None:
        self._student = build_student(teachers, settings, use_device(device, threads))
        feed = Feed(list(groups.values()), prefetch, settings.schedule.iterations)
        self._halt = threading.Event()
        self._learning = Learning(self._student, groups, feed, prefetch, evaluation, self._halt)

    def train_epoch(self, epoch: int) -> EpochReport | None:
        """The iterations of `epoch` (from 0), in order; None if it was halted on the way."""
        return self._learning.epoch(epoch)

    @ray.method(concurrency_group="control")
    def done(self) -> int:
        """Iterations that are finished; answers while `train_epoch` runs."""
        return self._learning.done

    @ray.method(concurrency_group="control")
    def halt(self) -> None:
        """Make `train_epoch` return after the update in work."""
        self._halt.set()

    def weights(self) -> dict[str, Arrays]:
        """The state of the student and its VID parts."""
        return to_arrays(self._student.modules())


StudentActor = ray.remote(concurrency_groups={"control": 1})(StudentWorker)
