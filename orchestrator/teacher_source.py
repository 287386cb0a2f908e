"""The section of a configuration that says where a teacher is and what is known of it."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from fusion.cards import MAX_CARD_BYTES, NAME_PATTERN
from fusion.networks import NETWORKS
from fusion.networks.names import full_name, parse_name
from fusion.untrusted import Refused, parse_json, read_file
from orchestrator.sections import Section

Number = Annotated[float, Field(allow_inf_nan=False)]


class TeacherSource(Section):
    """One party's classifier: where it is, and what its files do not say of it (docs/teachers.md)."""

    source: str = Field(min_length=1)
    """A path, a URI (s3://, ...), or models:/NAME/VERSION or @ALIAS (MLflow); `path` means the same."""
    name: str | None = Field(None, pattern=NAME_PATTERN)
    """The party's name; by default the card's, or the file's."""
    network: str | None = None
    """The architecture: one of ours, torchvision:NAME, timm:NAME, or package.module:function."""
    arguments: dict[str, Any] | None = None
    """What the network is built with besides its classes and channels; a function is given nothing else."""
    allow_code: bool = False
    """Whether `network` may be a Python function, which is then run."""
    classes: tuple[str, ...] | str | None = None
    """The classes' names in the order of the logits, or a file with one a line (.json: a list)."""
    image_size: int | None = Field(None, ge=8, le=1024)
    """Side of the images that it takes, in pixels."""
    channels: int | None = Field(None, ge=1, le=3)
    """1 or 3."""
    mean: tuple[Number, ...] | None = None
    """What is subtracted from pixels, one number a channel; 0 for nothing."""
    std: tuple[Number, ...] | None = None
    """What they are then divided by; 1 for nothing."""
    value_range: tuple[Number, Number] | None = None
    """The range of pixels for which `mean` and `std` are meant; empty: [0, 1]."""
    resize: str | None = Field(None, max_length=256)
    """How its party brought images to their size; only noted."""
    licence: str | None = Field(None, max_length=256)
    """Under which it may be used; only noted."""
    label_map: dict[str, str] | None = Field(None, min_length=1)
    """From its names of classes to those that the others and the student use; those left out keep theirs."""

    @field_validator("label_map")
    @classmethod
    def _names_are_told_apart(cls, names: dict[str, str] | None) -> dict[str, str] | None:
        targets = list((names or {}).values())
        if "" in targets:
            raise ValueError("an empty name is no class")
        if twice := [name for name in targets if targets.count(name) > 1]:
            raise ValueError(f"two classes would be called {twice[0]!r}")
        return names

    @model_validator(mode="before")
    @classmethod
    def _path_is_source(cls, value: Any) -> Any:
        """Also makes tuples of lists, which YAML has instead."""
        if not isinstance(value, dict):
            return value
        renamed = {"source" if key == "path" and "source" not in value else key: value[key] for key in value}
        return {
            key: tuple(one) if isinstance(one, list) and key != "arguments" else one
            for key, one in renamed.items()
        }

    @model_validator(mode="after")
    def _network_may_be(self) -> "TeacherSource":
        if self.network is None:
            return self
        if self.network not in NETWORKS:
            try:
                foreign = parse_name(full_name(self.network, self.arguments or {}))
            except Refused as error:
                raise ValueError(str(error)) from error
            if foreign is None:
                known = f"{', '.join(NETWORKS)}, torchvision:NAME, timm:NAME, package.module:function"
                raise ValueError(f"network: unknown network {self.network!r} (known: {known})")
            if foreign.is_code and not self.allow_code:
                raise ValueError(
                    f"allow_code: {self.network} is Python code; if you trust it, give allow_code: true"
                )
        elif self.arguments:
            raise ValueError(f"arguments: {self.network} takes none")
        return self

    def given(self) -> dict[str, Any]:
        """What is said of the classifier, as `fusion.outside.read_outside` takes it.

        Raises:
            Refused: the file of class names cannot be read.
        """
        said = self.model_dump(exclude={"source", "allow_code", "label_map"}, exclude_none=True)
        if isinstance(self.classes, str):
            said["classes"] = _names_in(Path(self.classes))
        return said


def _names_in(path: Path) -> list[str]:
    data = read_file(path, at_most=MAX_CARD_BYTES, what="a file of class names")
    if path.suffix == ".json":
        names = parse_json(data)
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
            raise Refused("must be a JSON list of names")
        return names
    try:
        return [line.strip() for line in data.decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise Refused("no UTF-8 text") from error
