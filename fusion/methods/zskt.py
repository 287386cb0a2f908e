"""ZSKT with several teachers: generators that look for disagreement and nothing else (Micaelli, Storkey,
NeurIPS 2019)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.method import NAME, JudgedByStudent, Synthesis
from fusion.objective import Objective
from fusion.settings import setting
from fusion.terms import adversary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Zskt(JudgedByStudent):
    """Nothing of its own to set (docs/methods/zskt.md)."""

    title: ClassVar[str] = "ZSKT, Micaelli and Storkey, NeurIPS 2019, with several teachers"

    name: Literal["zskt"] = setting("zskt", NAME)

    def generator_objective(self, synthesis: Synthesis) -> Objective:
        """L^A, Eq. (5), with the student in the assistant's place."""
        return adversary(synthesis, tau=self.tau)
