"""Paths that are no file, lead elsewhere, or are no path."""

import os
import socket
from pathlib import Path

from tests.hostile.making import case, hand_in, inside, valid, valid_bytes


def replaced(folder: Path, suffix: str) -> Path:
    """A party's folder from which one of the two files was taken away; returns where it was."""
    path = valid(folder).with_suffix(suffix)
    path.unlink()
    return path


@case("one.safetensors: Is a directory")
def folder_as_weights(folder: Path) -> Path:
    replaced(folder, ".safetensors").mkdir()
    return folder / "one.safetensors"


@case("one.safetensors: no regular file")
def pipe_as_weights(folder: Path) -> Path:
    os.mkfifo(replaced(folder, ".safetensors"))
    return folder / "one.safetensors"


@case("one.json: no regular file")
def pipe_as_card(folder: Path) -> Path:
    os.mkfifo(replaced(folder, ".json"))
    return folder / "one.safetensors"


@case("one.json: Is a directory")
def folder_as_card(folder: Path) -> Path:
    replaced(folder, ".json").mkdir()
    return folder / "one.safetensors"


@case("one.safetensors: No such device or address")
def socket_as_weights(folder: Path) -> Path:
    with inside(folder), socket.socket(socket.AF_UNIX) as server:
        replaced(folder, ".safetensors")
        server.bind("one.safetensors")
    return folder / "one.safetensors"


@case("one.safetensors: no regular file")
def device_without_end_as_weights(folder: Path) -> Path:
    replaced(folder, ".safetensors").symlink_to("/dev/zero")
    return folder / "one.safetensors"


@case("one.json: links out of its folder")
def device_without_end_as_card(folder: Path) -> Path:
    replaced(folder, ".json").symlink_to("/dev/zero")
    return folder / "one.safetensors"


@case("one.safetensors: truncated or changed")
def weights_that_link_to_the_passwords(folder: Path) -> Path:
    replaced(folder, ".safetensors").symlink_to("/etc/passwd")
    return folder / "one.safetensors"


@case("one.json: links out of its folder")
def card_that_links_to_the_passwords(folder: Path) -> Path:
    replaced(folder, ".json").symlink_to("/etc/passwd")
    return folder / "one.safetensors"


@case("one.json: links out of its folder")
def card_that_links_to_somebody_elses(folder: Path) -> Path:
    (folder / "other").mkdir()
    (folder / "mine").mkdir()
    valid(folder / "other")
    replaced(folder / "mine", ".json").symlink_to("../other/one.json")
    return folder / "mine" / "one.safetensors"


@case("one.safetensors: Too many levels of symbolic links")
def link_to_itself_as_weights(folder: Path) -> Path:
    replaced(folder, ".safetensors").symlink_to("one.safetensors")
    return folder / "one.safetensors"


@case("one.json: Too many levels of symbolic links")
def link_to_itself_as_card(folder: Path) -> Path:
    replaced(folder, ".json").symlink_to("one.json")
    return folder / "one.safetensors"


@case("No such file")
def nothing_there(folder: Path) -> Path:
    return folder / "gone.safetensors"


@case("File name too long")
def path_of_a_megabyte(folder: Path) -> Path:
    return folder / ("a/" * 500_000 + "one.safetensors")


@case("File name too long")
def name_of_a_megabyte(folder: Path) -> Path:
    return folder / ("a" * 1_000_000 + ".safetensors")


@case("embedded null")
def path_with_a_null(folder: Path) -> Path:
    return folder / "one\0.safetensors"


@case("No such file")
def path_with_escape_codes(folder: Path) -> Path:
    return folder / "\x1b[2J\n\u202eone.safetensors"


@case("surrogates not allowed")
def path_that_is_no_text(folder: Path) -> Path:
    return folder / "\ud800.safetensors"


@case("no .safetensors file")
def another_ending(folder: Path) -> Path:
    path = hand_in(folder, valid_bytes())
    return path.rename(folder / "one.pt")


@case("no .safetensors file")
def card_as_weights(folder: Path) -> Path:
    return valid(folder).with_suffix(".json")
