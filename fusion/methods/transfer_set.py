"""Arbitrary transfer sets with several teachers: distilling on unrelated images, balanced by the classes that
the teachers see in them (Nayak, Mopuri, Chakraborty, WACV 2021)."""

import dataclasses
from typing import ClassVar, Literal

from fusion.method import NAME
from fusion.settings import SettingsError, setting
from fusion.transferring import Transferring


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferSet(Transferring):
    """Which images (docs/methods/transfer_set.md)."""

    title: ClassVar[str] = "arbitrary transfer sets, Nayak et al., WACV 2021, with several teachers"

    name: Literal["transfer_set"] = setting("transfer_set", NAME)
    sources: tuple[str, ...] = setting(
        ("noise",),
        "Where the images are: Parquet files, folders of images, 'noise', or 'data', the training images. "
        "The first is the base; the others fill up classes of which it has too few, in this order.",
    )
    image_column: str = setting(
        "image", "Parquet column with encoded images: bytes, or a struct with a field 'bytes'."
    )
    classes: int | None = setting(
        None,
        "Only images in which the teachers see one of the first so many classes; empty: of all. 'images' "
        "stays what it is: fewer classes have more images each.",
        at_least=1,
    )
    balanced: bool = setting(
        True, "As many images of each class as of any other, by the teachers' predictions, or as they come."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sources:
            raise SettingsError([("sources", "must name at least one", [])])

    @property
    def taken_from(self) -> tuple[str, ...]:
        """As `sources` says."""
        return self.sources

    @property
    def column(self) -> str:
        """As `image_column` says."""
        return self.image_column

    @property
    def among(self) -> int | None:
        """As `classes` says."""
        return self.classes

    @property
    def evenly(self) -> bool:
        """As `balanced` says."""
        return self.balanced
