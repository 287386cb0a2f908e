"""DFMF: every party's generator is judged by its own assistant (Shi et al., CVPR Workshops 2024)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.adversarial import Adversarial
from fusion.method import NAME, Critic
from fusion.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dfmf(Adversarial):
    """The choices that the paper leaves open are in docs/choices.md."""

    title: ClassVar[str] = "data-free model fusion with generator assistants, Shi et al., CVPR Workshops 2024"
    critic: ClassVar[Critic] = "assistant"

    name: Literal["dfmf"] = setting("dfmf", NAME)
