"""What a check of `dfmf doctor` found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from orchestrator.errors import UserError
from orchestrator.secrets import redact

Level: TypeAlias = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: a `problem` stops a run or spoils it, a `warning` does not."""

    check: str
    level: Level
    says: str
    do: str = ""
    """What mends it; empty if it is ok."""


def attempted(check: str, look: Callable[[], Finding | list[Finding]]) -> list[Finding]:
    """The findings of `look`; one that breaks is a problem too, in one line and without secrets."""
    try:
        found = look()
    except UserError as error:
        return [Finding(check, "problem", one_line(str(error)), "correct what the line names")]
    except Exception as error:  # noqa: BLE001 - whatever breaks a check would break a run
        says = one_line(f"the check itself broke: {type(error).__name__}: {error}")
        return [Finding(check, "problem", says, "look at what the line names; other findings may explain it")]
    return found if isinstance(found, list) else [found]


def one_line(text: str) -> str:
    """Text of somebody else's as one line of bearable length, without secrets."""
    line = " ".join(str(redact(text)).split())
    return line if len(line) <= 300 else line[:297] + "..."
