"""Algorithm 1 of the paper in one process: the reference that every other engine must equal bit for bit."""

from collections.abc import Callable, Sequence

import torch

from fusion.party import Party
from fusion.schedule import Schedule
from fusion.student import Student


def ignore(number: int) -> None:
    """An observer that looks at nothing."""


def warm_up(parties: Sequence[Party], schedule: Schedule, observe: Callable[[int], None] = ignore) -> None:
    """Lines 3-10: the generators learn their teachers' statistics before anybody learns from them.

    `observe` is called after each update with how many there have been.
    """
    # fmt: off
    for index, party in enumerate(parties):                                       # 3
        for step in range(schedule.warmup_steps):                                 # 4-5
            party.warm_up_step(step)                                              # 6-7
            observe(index * schedule.warmup_steps + step + 1)
    # fmt: on


def fuse(
    parties: Sequence[Party], student: Student, schedule: Schedule, observe: Callable[[int], None] = ignore
) -> None:
    """Lines 11-31, after `warm_up`. `observe` is called after each iteration with how many there have
    been."""
    # fmt: off
    for iteration in range(schedule.iterations):                                  # 11-12
        for party in parties:                                                     # 13
            party.begin_iteration(iteration)
            party.update_generator()                                              # 14-15
        for party in parties:                                                     # 17
            for _ in range(schedule.m_ga):                                        # 18
                party.update_assistant()                                          # 19-20
        student.begin_iteration(iteration)
        for _ in range(schedule.m_s):                                             # 23
            images = torch.cat([party.synthesize() for party in parties])         # 24-27
            student.update(images)                                                # 28
        observe(iteration + 1)
    # fmt: on
