"""Cards that are too large, no JSON, or say what no card may say."""

import os
from pathlib import Path

from tests.hostile.making import ABSENT, case, valid, with_card, write_card


def with_text(folder: Path, key: str, text: str) -> Path:
    """A card in which the value of `key` is this JSON, which Python would not write."""
    path = with_card(folder, **{key: "PLACE"})
    card = path.with_suffix(".json").read_text().replace('"PLACE"', text)
    return write_card(path, card.encode())


@case("larger than")
def card_of_a_gigabyte(folder: Path) -> Path:
    path = valid(folder)
    os.truncate(path.with_suffix(".json"), 2**30)
    return path


@case("larger than")
def card_of_ten_million_classes(folder: Path) -> Path:
    return write_card(valid(folder), b'{"schema":1,"classes":[' + b'"a",' * 10_000_000 + b'"b"]}')


@case("no JSON")
def card_that_is_no_json(folder: Path) -> Path:
    return write_card(valid(folder), b"name: one\nnetwork: !!python/object/apply:os.system [id]\n")


@case("no JSON")
def card_that_is_no_text(folder: Path) -> Path:
    return write_card(valid(folder), b'{"name": "\xff\xfe"}')


@case("no JSON")
def empty_card(folder: Path) -> Path:
    return write_card(valid(folder), b"")


@case("nested")
def card_of_lists_in_lists(folder: Path) -> Path:
    return with_text(folder, "extra", "[" * 150_000 + "]" * 150_000)


@case("more than 200,000 brackets")
def card_of_a_million_lists(folder: Path) -> Path:
    return with_text(folder, "extra", "[" + "[[]]," * 700_000 + "0]")


@case("schema")
def card_of_almost_as_many_lists_as_are_read(folder: Path) -> Path:
    return write_card(valid(folder), b'{"extra": [' + b"[[]]," * 99_990 + b"0]}")


@case("nested")
def card_of_objects_in_objects(folder: Path) -> Path:
    return with_text(folder, "extra", '{"a":' * 100_000 + "1" + "}" * 100_000)


@case("must be a JSON object")
def card_that_is_a_list(folder: Path) -> Path:
    return write_card(valid(folder), b"[1, 2]")


@case("'classes' stands twice")
def card_with_a_key_twice(folder: Path) -> Path:
    path = valid(folder)
    text = path.with_suffix(".json").read_text()
    return write_card(path, ('{"classes": ["x", "y", "z", "w"],' + text[1:]).encode())


@case("NaN is not finite")
def mean_that_is_no_number(folder: Path) -> Path:
    return with_text(folder, "mean", "[NaN]")


@case("Infinity is not finite")
def infinite_deviation(folder: Path) -> Path:
    return with_text(folder, "std", "[Infinity]")


@case("1e999 is not finite")
def deviation_beyond_all_floats(folder: Path) -> Path:
    return with_text(folder, "std", "[1e999]")


@case("std: must be")
def deviation_of_almost_0(folder: Path) -> Path:
    return with_card(folder, std=[1e-320])


@case("std: must be")
def negative_deviation(folder: Path) -> Path:
    return with_card(folder, std=[-0.5])


@case("mean: must be")
def huge_mean(folder: Path) -> Path:
    return with_card(folder, mean=[1e308])


@case("a number of 401 digits")
def mean_of_400_digits(folder: Path) -> Path:
    return with_text(folder, "mean", "[1" + "0" * 400 + "]")


@case("no JSON")
def mean_of_400000_digits(folder: Path) -> Path:
    return with_text(folder, "mean", "[1" + "0" * 400_000 + "]")


@case("mean: must be")
def mean_that_is_true(folder: Path) -> Path:
    return with_card(folder, mean=[True])


@case("mean: must be")
def a_hundred_thousand_means(folder: Path) -> Path:
    return with_card(folder, mean=[0.5] * 100_000)


@case("image_size: must be")
def size_that_is_true(folder: Path) -> Path:
    return with_card(folder, image_size=True)


@case("image_size: must be")
def size_that_is_a_fraction(folder: Path) -> Path:
    return with_card(folder, image_size=8.0)


@case("a number of 401 digits")
def size_of_400_digits(folder: Path) -> Path:
    return with_text(folder, "image_size", "1" + "0" * 400)


@case("image_size: must be")
def size_below_0(folder: Path) -> Path:
    return with_card(folder, image_size=-8)


@case("channels: must be")
def channels_that_are_true(folder: Path) -> Path:
    return with_card(folder, channels=True)


@case("schema: must be 1")
def schema_that_is_true(folder: Path) -> Path:
    return with_card(folder, schema=True)


@case("truncated or changed")
def hash_of_another_file(folder: Path) -> Path:
    return with_card(folder, sha256="0" * 64)


@case("sha256: must be")
def hash_that_is_a_list(folder: Path) -> Path:
    return with_card(folder, sha256=["0" * 64])


@case("sha256: must be")
def card_without_a_hash(folder: Path) -> Path:
    return with_card(folder, sha256=ABSENT)


@case("larger than")
def unknown_key_of_megabytes(folder: Path) -> Path:
    return with_card(folder, extra="x" * 5_000_000)
