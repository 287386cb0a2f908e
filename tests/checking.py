"""What the tests of `dfmf doctor` share."""

from typing import Any

from orchestrator.checks.finding import Finding
from orchestrator.config import RunConfig
from orchestrator.loading import parse_config
from tests.tiny import tiny_run


def config(**changes: Any) -> RunConfig:
    """A tiny run on Ray."""
    return parse_config(tiny_run(**{"engine": {"mode": "ray"}, **changes}), "test")


def level(found: Finding, *words: str) -> str:
    """The finding's level, once it is seen to say these words and to give advice if it is not ok."""
    assert all(word in found.says + " -> " + found.do for word in words), found
    assert bool(found.do) == (found.level != "ok"), found
    assert "\n" not in found.says + found.do
    return found.level
