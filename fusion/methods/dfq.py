"""DFQ with several teachers: every generator is judged by the student (Choi et al., CVPR Workshops 2020)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.adversarial import Adversarial
from fusion.method import NAME, JudgedByStudent
from fusion.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dfq(Adversarial, JudgedByStudent):
    """DFMF's losses with the student in the assistant's place (docs/methods/dfq.md)."""

    title: ClassVar[str] = "DFQ, Choi et al., CVPR Workshops 2020, with several teachers"

    name: Literal["dfq"] = setting("dfq", NAME)
