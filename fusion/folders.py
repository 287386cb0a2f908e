"""Folders as timm and the Hugging Face hub write them: config.json beside the weights."""

import re
from pathlib import Path
from typing import Any

from fusion.cards import MAX_CARD_BYTES, check_entry, check_link
from fusion.untrusted import Refused, one_line, parse_json, read_file, shown

FOLDER_CONFIG = "config.json"
FOLDER_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
KNOWN_ARGUMENTS = ("num_classes", "in_chans")
USUAL_POOLINGS = ("avg", "token")
"""What timm always notes: the default of convolutional networks, and that of transformers."""


def read_folder_config(folder: Path) -> dict[str, Any]:
    """What timm's config.json declares, by our keys; each as no card could say it worse.

    It has `architecture`, `label_names`, `model_args`, and in `pretrained_cfg` `input_size`, `mean`, `std`,
    `crop_pct`, `crop_mode`, `interpolation` and `license`.

    Source: `save_config_for_hf` in timm/models/_hub.py (1.0.31).

    Raises:
        Refused: it is damaged, or another library's.
    """
    path = folder / FOLDER_CONFIG
    try:
        check_link(path)
        config = parse_json(read_file(path, at_most=MAX_CARD_BYTES, what="a configuration"))
    except Refused as error:
        raise Refused(f"config.json: {error}") from error
    architecture = config.get("architecture") if isinstance(config, dict) else None
    if not isinstance(architecture, str) or not re.fullmatch("[a-z0-9_]{1,100}", architecture):
        raise Refused(f"config.json: architecture: must be one of timm's (got {shown(architecture)})")
    pretrained = config.get("pretrained_cfg")
    pretrained = pretrained if isinstance(pretrained, dict) else {}
    arguments = config.get("model_args")
    arguments = arguments if isinstance(arguments, dict) else {}
    entries = {
        "classes": config.get("label_names", pretrained.get("label_names")),
        **_size(pretrained.get("input_size")),
        "mean": pretrained.get("mean"),
        "std": pretrained.get("std"),
    }
    for key, value in entries.items():
        if value is not None:
            _check(key, value)
    return entries | {
        "network": f"timm:{architecture}",
        "arguments": {
            key: value
            for key, value in arguments.items()
            if key not in KNOWN_ARGUMENTS
            and (key, value) not in [("global_pool", one) for one in USUAL_POOLINGS]
        },
        "resize": _resize(pretrained),
        "licence": _text(pretrained.get("license")),
    }


def _check(key: str, value: object) -> None:
    try:
        check_entry(key, value)
    except Refused as error:
        raise Refused(f"config.json: {error}") from error


def _size(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, list) or len(value) != 3 or not all(type(one) is int for one in value):
        raise Refused(f"config.json: input_size: must be channels, height and width (got {shown(value)})")
    if value[1] != value[2]:
        raise Refused(f"config.json: input_size: images must be square (got {value[1]}x{value[2]})")
    return {"channels": value[0], "image_size": value[1]}


def _resize(pretrained: dict[str, Any]) -> str | None:
    parts = [
        f"{key} {pretrained[key]}" for key in ("interpolation", "crop_mode", "crop_pct") if key in pretrained
    ]
    return _text(", ".join(parts)) if parts else None


def _text(value: object) -> str | None:
    return one_line(value)[:256] if isinstance(value, str) and value else None
