"""The section `method`: one of the methods, by its name."""

from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Tag

from fusion.methods import (
    AdaptiveDeepInversion,
    Cmi,
    CmiGa,
    Dafl,
    DeepInversion,
    Dfmf,
    Dfq,
    DfqNoAdv,
    Fast,
    Nayer,
    TransferSet,
    VanillaKd,
    Zskt,
)


def _method_name(value: Any) -> Any:
    return value.get("name", "dfmf") if isinstance(value, dict) else getattr(value, "name", "dfmf")


ChosenMethod: TypeAlias = Annotated[
    Annotated[Dfmf, Tag("dfmf")]
    | Annotated[Dfq, Tag("dfq")]
    | Annotated[DfqNoAdv, Tag("dfq_no_adv")]
    | Annotated[Dafl, Tag("dafl")]
    | Annotated[Zskt, Tag("zskt")]
    | Annotated[DeepInversion, Tag("deepinversion")]
    | Annotated[AdaptiveDeepInversion, Tag("adaptive_deepinversion")]
    | Annotated[Cmi, Tag("cmi")]
    | Annotated[CmiGa, Tag("cmi_ga")]
    | Annotated[Nayer, Tag("nayer")]
    | Annotated[Fast, Tag("fast")]
    | Annotated[TransferSet, Tag("transfer_set")]
    | Annotated[VanillaKd, Tag("vanilla_kd")],
    Discriminator(_method_name),
]
"""Which one it is says `name`; that of DFMF may be left out."""
