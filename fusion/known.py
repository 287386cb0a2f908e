"""What is known of a classifier from another's file, and who says so."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusion.fitting import closest
from fusion.networks import NETWORKS
from fusion.networks.foreign import is_foreign
from fusion.networks.names import full_name
from fusion.stored import Stored
from fusion.teachers import TeacherError
from fusion.untrusted import Refused, one_line, shown

EXTRA = ("resize", "licence")
"""What a card may say besides, for people."""


class UndeclaredError(TeacherError):
    """Something has to be known that neither the file nor a person says; `key` is what it is called."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.message = message


class Known:
    """What a person gives counts first, then what the file declares, then what its tensors tell.

    All methods raise `UndeclaredError` for what is missing and `Refused` for what contradicts.
    """

    def __init__(self, given: Mapping[str, Any], declared: Mapping[str, Any], path: Path, label: str) -> None:
        """`label` is what the party is called if nobody says it."""
        self._given, self._declared, self._where = given, declared, one_line(str(path))
        self._label = label
        self.origins: dict[str, str] = {}
        """Who says what: 'given', 'declared' or 'inferred'."""

    def needed(self, key: str, what: str) -> Any:
        """What is said under `key`; `what` completes "give ..."."""
        value = self._get(key)
        if value is None:
            raise UndeclaredError(key, f"is not declared by {self._where}; give {what}")
        return value

    def network(self, stored: Stored) -> str:
        """The network's name, with its arguments."""
        network = self._get("network")
        if network is None:
            message = f"is not declared by {self._where}; give the architecture"
            raise UndeclaredError("network", f"{message} ({closest(stored.shapes)})")
        full = full_name(network, self._given.get("arguments") or {})
        if full not in NETWORKS and not is_foreign(full):
            known = f"{', '.join(NETWORKS)}, torchvision:NAME, timm:NAME, package.module:function"
            raise UndeclaredError("network", f"unknown network {shown(network)} (known: {known})")
        if self._declared.get("arguments") and self._given.get("arguments") is None:
            asked = shown(self._declared["arguments"])
            message = f"{self._where} asks for {asked}; arguments are only taken from you: give them, or {{}}"
            raise UndeclaredError("arguments", message)
        return full

    def agreed(self, key: str, inferred: int | None, what: str) -> int:
        """What is said of a number, which must be what the tensors tell."""
        value = self._get(key)
        if value is None and inferred is not None:
            self.origins[key] = "inferred"
            return inferred
        value = self.needed(key, what)
        if inferred is not None and value != inferred:
            raise Refused(f"{key}: {value} {self.origins[key]}, but its tensors are for {inferred}")
        return int(value)

    def classes(self, count: int | None) -> tuple[str, ...]:
        """The classes' names, of which there must be `count`."""
        number = "" if count is None else f"{count:,} "
        classes = tuple(self.needed("classes", f"the names of its {number}classes in order"))
        if count is not None and len(classes) != count:
            said = f"{len(classes):,} names {self.origins['classes']}"
            raise Refused(f"classes: {said}, but its tensors are for {count:,}")
        return classes

    def normalisation(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std for pixels in [0, 1]; with a `value_range` they count for low + (high - low) x."""
        what = f"{channels} numbers, one a channel, by which pixels are normalised"
        mean = self.needed("mean", f"{what} (0 if they are not)")
        std = self.needed("std", f"{what} (1 if they are not)")
        low, high = self._get("value_range") or (0.0, 1.0)
        if not low < high:
            raise Refused(f"value_range: the first number must be below the second (got {low:g}, {high:g})")
        span = float(high - low)
        return tuple((float(one) - low) / span for one in mean), tuple(float(one) / span for one in std)

    def name(self) -> str:
        """The party's name: the file's or folder's, if nobody says another."""
        name = self._get("name")
        if name is None:
            self.origins["name"] = "inferred"
            name = re.sub(r"[^A-Za-z0-9._-]", "-", self._label).lstrip("._-")[:64] or "teacher"
        return str(name)

    def extra(self) -> dict[str, str]:
        """Of `EXTRA`, what is said."""
        return {key: str(self._get(key)) for key in EXTRA if self._get(key) is not None}

    def _get(self, key: str) -> Any:
        for source, origin in ((self._given, "given"), (self._declared, "declared")):
            if source.get(key) is not None:
                self.origins[key] = origin
                return source[key]
        return None
