"""Cards whose names of the party, the network or the classes are none."""

from pathlib import Path

from tests.hostile.cards import with_text
from tests.hostile.making import case, with_card

NAME = "name: must be"


@case(NAME)
def name_that_leads_up(folder: Path) -> Path:
    return with_card(folder, name="../../x")


@case(NAME)
def name_that_is_absolute(folder: Path) -> Path:
    return with_card(folder, name="/tmp/x")


@case(NAME)
def name_that_is_dots(folder: Path) -> Path:
    return with_card(folder, name="..")


@case(NAME)
def empty_name(folder: Path) -> Path:
    return with_card(folder, name="")


@case(NAME)
def name_with_a_null(folder: Path) -> Path:
    return with_card(folder, name="a\0b")


@case(NAME)
def name_that_ends_its_line(folder: Path) -> Path:
    return with_card(folder, name="one\n")


@case(NAME)
def name_with_escape_codes(folder: Path) -> Path:
    return with_card(folder, name="\x1b]0;owned\x07\x1b[2J")


@case(NAME)
def name_of_ten_thousand_letters(folder: Path) -> Path:
    return with_card(folder, name="a" * 10_000)


@case(NAME)
def name_that_turns_the_line_around(folder: Path) -> Path:
    return with_card(folder, name="one\u202egnp.exe")


@case(NAME)
def name_of_half_a_letter(folder: Path) -> Path:
    return with_text(folder, "name", '"\\ud800"')


@case(NAME)
def name_that_is_a_number(folder: Path) -> Path:
    return with_card(folder, name=7)


@case("network: must be")
def network_that_is_a_list(folder: Path) -> Path:
    return with_card(folder, network=["resnet8-w8"])


@case("network: must be")
def network_that_is_an_object(folder: Path) -> Path:
    return with_card(folder, network={"resnet8-w8": 1})


@case("network: must be")
def network_that_is_a_module(folder: Path) -> Path:
    return with_card(folder, network="torch.hub.load")


@case("network: must be")
def network_of_a_hundred_thousand_letters(folder: Path) -> Path:
    return with_card(folder, network="\x1b[2J" * 100_000)


@case("classes: must be")
def classes_that_are_an_object(folder: Path) -> Path:
    return with_card(folder, classes={"a": 1, "b": 2, "c": 3, "d": 4})


@case("classes: must be")
def classes_that_are_numbers(folder: Path) -> Path:
    return with_card(folder, classes=[1, 2, 3, 4])


@case("classes: 'a' stands twice")
def classes_that_are_the_same(folder: Path) -> Path:
    return with_card(folder, classes=["a", "a", "c", "d"])


@case("classes: must be")
def more_classes_than_any_network(folder: Path) -> Path:
    return with_card(folder, classes=[f"{index:x}" for index in range(100_001)])


@case("classes: must be")
def class_that_ends_its_line(folder: Path) -> Path:
    return with_card(folder, classes=["a", "b", "c\n# Heading", "d"])


@case("classes: must be")
def class_with_escape_codes(folder: Path) -> Path:
    return with_card(folder, classes=["a", "b", "\x1b[31mc", "d"])


@case("classes: must be")
def class_that_turns_the_line_around(folder: Path) -> Path:
    return with_card(folder, classes=["a", "b", "\u202ec", "d"])


@case("classes: must be")
def class_of_half_a_letter(folder: Path) -> Path:
    return with_text(folder, "classes", '["a", "b", "\\udfff", "d"]')


@case("classes: must be")
def class_of_a_thousand_letters(folder: Path) -> Path:
    return with_card(folder, classes=["a", "b", "c" * 1000, "d"])


@case("classes: must be")
def class_without_a_name(folder: Path) -> Path:
    return with_card(folder, classes=["a", "b", "", "d"])
