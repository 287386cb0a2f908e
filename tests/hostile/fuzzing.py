"""What the two fuzz tests share: how many inputs, what may come out, and any JSON."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from orchestrator.errors import UserError

EFFORT = int(os.environ.get("FUZZ", "1"))


def fuzz(examples: int) -> settings:
    """Settings for so many inputs, or `FUZZ` times as many."""
    return settings(
        max_examples=EFFORT * examples,
        derandomize=True,
        database=None,
        deadline=5000,  # Milliseconds for one input.
        suppress_health_check=list(HealthCheck),
    )


def outcome(call: Callable[[], Any], expected: type[Exception]) -> Any:
    """What the call returns, or the lines of the expected error; any other exception fails the test."""
    try:
        return call()
    except expected as error:
        lines = str(error).split("\n")
        assert all(line.isprintable() and 0 < len(line) < 2000 for line in lines), lines
        assert expected is UserError or len(lines) == 1
        return lines


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**20, 10**30)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["F32", "I64", "resnet8", [], {}, [0, 4], [2**63, -1]]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=8,
)
