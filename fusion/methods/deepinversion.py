"""DeepInversion with several teachers: images are optimised until a teacher takes them for its data (Yin et
al., CVPR 2020)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.dreaming import Dreaming
from fusion.method import NAME
from fusion.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepInversion(Dreaming):
    """The weights in the losses are the shared ones (docs/methods/deepinversion.md)."""

    title: ClassVar[str] = "DeepInversion, Yin et al., CVPR 2020, with several teachers"

    name: Literal["deepinversion"] = setting("deepinversion", NAME)
