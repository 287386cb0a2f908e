"""Methods that make no images: theirs are there from the start."""

import dataclasses
from typing import ClassVar, Literal

from fusion.method import Method
from fusion.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transferring(Method):
    """A method whose images are there from the start, in each party's bank a part of them."""

    trains_generators: ClassVar[bool] = False
    images_from: ClassVar[Literal["generator", "bank"]] = "bank"
    has_generator: ClassVar[bool] = False
    data_free: ClassVar[bool] = False

    beta: float = setting(0.0, "Weight of the VID loss, Eqs. (1) and (2).", at_least=0)
    images: int = setting(
        50_000, "The most images; fairly, as many as the teachers were trained on.", at_least=1
    )

    @property
    def taken_from(self) -> tuple[str, ...]:
        """Files, folders, 'noise' for uniform noise, or 'data' for the run's own training images."""
        raise NotImplementedError

    @property
    def column(self) -> str:
        """With the images, of Parquet files."""
        return "image"

    @property
    def among(self) -> int | None:
        """How many of the classes, the first ones, there are to be images of; None: all."""
        return None

    @property
    def evenly(self) -> bool:
        """Whether there are to be as many images of each class as of any other."""
        return False

    @property
    def on_training_images(self) -> bool:
        """If they are among the sources."""
        return "data" in self.taken_from

    def share(self, num_parties: int) -> int:
        """How many images a party keeps at most."""
        return max(1, self.images // num_parties)
