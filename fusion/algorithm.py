"""Algorithm 1 of the paper in one process: the reference that every other engine must equal bit for bit."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch

from fusion.party import Party
from fusion.schedule import Schedule
from fusion.student import Student


def ignore(*_: int) -> None:
    """An observer that looks at nothing."""


def warm_up(
    parties: Sequence[Party],
    schedule: Schedule,
    observe: Callable[..., None] = ignore,
    first: Mapping[int, int] = MappingProxyType({}),
) -> None:
    """Lines 3-10: the generators learn their teachers' statistics before anybody learns from them.

    `observe` is called after each update with the party's index and how many it has had; party k has had
    `first[k]` already.
    """
    # fmt: off
    for index, party in enumerate(parties):                                       # 3
        for step in range(first.get(index, 0), schedule.warmup_steps):            # 4-5
            party.warm_up_step(step)                                              # 6-7
            observe(index, step + 1)
    # fmt: on


def fuse(
    parties: Sequence[Party],
    student: Student,
    schedule: Schedule,
    observe: Callable[[int], None] = ignore,
    first: int = 0,
) -> None:
    """Lines 11-31, after every party's `warm_up` (lines 3-10).

    `observe` is called after each iteration with how many there have been; `first` of them are done already.
    Lines 14-15 and 17-22 are nothing for a method that freezes its generators, or has no assistants.
    """
    # fmt: off
    for iteration in range(first, schedule.iterations):                           # 11-12
        critic = student.as_critic(iteration)
        for party in parties:                                                     # 13
            party.begin_iteration(iteration, critic)
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
