"""Vanilla knowledge distillation on the teachers' own training images (Hinton, Vinyals, Dean, 2015): what a
data-free method could reach at best with its student and schedule."""

import dataclasses
from typing import ClassVar, Literal

from fusion.method import NAME
from fusion.settings import setting
from fusion.transferring import Transferring


@dataclasses.dataclass(frozen=True, kw_only=True)
class VanillaKd(Transferring):
    """Nothing of its own to set (docs/methods/vanilla_kd.md)."""

    title: ClassVar[str] = "vanilla distillation on real data, Hinton et al., 2015, with several teachers"

    name: Literal["vanilla_kd"] = setting("vanilla_kd", NAME)

    @property
    def taken_from(self) -> tuple[str, ...]:
        """The run's own training images, as they come."""
        return ("data",)
