"""Methods by name. Each is a file of its own that composes shared losses; none imports another."""

from collections.abc import Mapping

from fusion.method import Method, Synthesis
from fusion.methods.adaptive_deepinversion import AdaptiveDeepInversion
from fusion.methods.cmi import Cmi
from fusion.methods.cmi_ga import CmiGa
from fusion.methods.dafl import Dafl
from fusion.methods.deepinversion import DeepInversion
from fusion.methods.dfmf import Dfmf
from fusion.methods.dfq import Dfq
from fusion.methods.dfq_no_adv import DfqNoAdv
from fusion.methods.fast import Fast
from fusion.methods.nayer import Nayer
from fusion.methods.transfer_set import TransferSet
from fusion.methods.vanilla_kd import VanillaKd
from fusion.methods.zskt import Zskt

__all__ = [
    "METHODS",
    "AdaptiveDeepInversion",
    "Cmi",
    "CmiGa",
    "Dafl",
    "DeepInversion",
    "Dfmf",
    "Dfq",
    "DfqNoAdv",
    "Fast",
    "Method",
    "Nayer",
    "Synthesis",
    "TransferSet",
    "VanillaKd",
    "Zskt",
]

METHODS: Mapping[str, type[Method]] = {
    one.name: one
    for one in (
        *(Dfmf, Dfq, DfqNoAdv, Dafl, Zskt, DeepInversion, AdaptiveDeepInversion),
        *(Cmi, CmiGa, Nayer, Fast, TransferSet, VanillaKd),
    )
}
