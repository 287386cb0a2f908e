"""What a network may be called: one of ours, `LIBRARY:ARCHITECTURE`, or `package.module:function`.

A name is all that travels to other processes, so the arguments are part of it: JSON after a space, as in
``torchvision:densenet121 {"growth_rate": 12}``.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from fusion.untrusted import Refused, parse_json, shown

LIBRARIES = ("torchvision", "timm")
MAX_NAME_LENGTH = 1000
_ARCHITECTURE = re.compile(r"[a-z0-9_]{1,100}(\.[a-z0-9_]{1,100})?")
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
OWN_ARGUMENTS = {
    "torchvision": {"num_classes", "weights", "weights_backbone", "progress"},
    "timm": {
        *("num_classes", "in_chans", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"),
        *("checkpoint_path", "cache_dir", "features_only", "scriptable", "exportable"),
    },
}
"""What nobody may give: we know them better, or they would download or unpickle."""


class ForeignName(NamedTuple):
    """A network that is none of ours."""

    library: str
    """'torchvision', 'timm', or the Python module that the user named."""
    architecture: str
    arguments: dict[str, Any]

    @property
    def is_code(self) -> bool:
        """Whether building it runs a function that a person named."""
        return self.library not in LIBRARIES


def full_name(network: str, arguments: Mapping[str, Any]) -> str:
    """The name that is enough to build `network` with `arguments`."""
    return f"{network} {json.dumps(arguments, sort_keys=True)}" if arguments else network


def parse_name(name: str) -> ForeignName | None:
    """The parts of a foreign network's name; None for what is no such name, as ours are none.

    Raises:
        Refused: its arguments are no JSON object, too long, or not for anybody to give.
    """
    network, space, text = name.partition(" ")
    library, _, architecture = network.partition(":")
    fits = _ARCHITECTURE.fullmatch(architecture) if library in LIBRARIES else _FUNCTION.fullmatch(network)
    if not fits:
        return None
    if len(name) > MAX_NAME_LENGTH:
        raise Refused(f"network: a name of {len(name):,} characters; at most {MAX_NAME_LENGTH:,}")
    arguments = parse_json(text.encode()) if space else {}
    if not isinstance(arguments, dict):
        raise Refused(f"network: the arguments of {network} must be a JSON object (got {shown(text)})")
    reserved = sorted(OWN_ARGUMENTS.get(library, set()) & set(arguments))
    if reserved:
        raise Refused(f"network: {network} takes no argument {reserved[0]!r} here")
    return ForeignName(library, architecture, arguments)


def is_plain_foreign(name: str) -> bool:
    """Whether a stranger's card may name it: a library's architecture as it is, without arguments or code."""
    foreign = parse_name(name) if len(name) <= MAX_NAME_LENGTH else None
    return foreign is not None and not foreign.is_code and not foreign.arguments
