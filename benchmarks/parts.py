"""The parts of an iteration, each as a call that can be timed."""

import dataclasses
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from fusion.assembly import FusionSettings, build_party, build_student
from fusion.labelling import label
from fusion.teachers import Teacher


@dataclasses.dataclass(frozen=True)
class Part:
    """One part: how often an iteration has it, on how many images, and what does it."""

    name: str
    times: int
    images: int
    work: Callable[[], object]

    def flops(self) -> int:
        """Counted while it runs: convolutions and matrix products, forward and backward."""
        with FlopCounterMode(display=False) as counter:
            self.work()
        return int(counter.get_total_flops())


def parts_of(teachers: list[Teacher], settings: FusionSettings, device: torch.device) -> list[Part]:
    """A party's parts, then those of the student for as many teachers as there are."""
    party = build_party(0, len(teachers), teachers[0], settings, device)
    student = build_student(teachers, settings, device)
    party.begin_iteration(0)
    student.begin_iteration(0)
    schedule = settings.schedule
    union = torch.cat([party.synthesize() for _ in teachers])
    looked, _ = student.view(0).look(union)
    said = {index: label(teacher, looked, settings.compute) for index, teacher in enumerate(student.teachers)}

    def labels() -> None:
        for teacher in student.teachers:
            label(teacher, looked, settings.compute)

    def look() -> None:
        student.view(0).look(union)

    count = len(union)
    return [
        Part("generator step", 1, schedule.batch_size, party.update_generator),
        Part("assistant step", schedule.m_ga, schedule.batch_size, party.update_assistant),
        Part("images for the union", schedule.m_s, party.share, party.synthesize),
        Part("augmentation", schedule.m_s, count, look),
        Part(f"labels of {len(teachers)} teachers", schedule.m_s, count, labels),
        Part("student step", schedule.m_s, count, lambda: student.learn(looked, said)),
    ]
