"""Pretraining on Ray: a classifier is handed over as soon as it is trained, whatever befalls the others."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from fusion.pretraining import Recipe
from orchestrator import distributed
from orchestrator.distributed import RayEngine
from orchestrator.waiting import ActorLost


def test_what_is_trained_is_handed_over_before_the_rest_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []
    ready = iter([["b"], [], ["c", "a"]])  # Of the last two one has died.

    def wait(calls: list[str], **_: Any) -> tuple[list[str], list[str]]:
        over = next(ready)
        heard.append(f"waited for {' '.join(calls)}")
        return over, [one for one in calls if one not in over]

    def get(call: Any) -> Any:
        if call == "c":
            raise ActorLost("a pretraining failed")
        return {"w": np.zeros(1, np.float32)} if isinstance(call, str) else [1, 2, 2]

    actor = Mock()
    actor.options.return_value.remote.return_value.train.remote = lambda name, *_: name
    monkeypatch.setattr(distributed, "PretrainingActor", actor)
    monkeypatch.setattr(distributed, "ray", SimpleNamespace(wait=wait))
    monkeypatch.setattr(distributed, "get", get)
    plan: Any = SimpleNamespace(placed=[Mock()] * 3)
    lessons: Any = [Mock() for _ in "abc"]
    for lesson, name in zip(lessons, "abc", strict=True):
        lesson.name = name
    with pytest.raises(ActorLost):
        RayEngine(Mock(), plan, Mock()).pretrain(
            lessons, Recipe(epochs=3), 0, lambda *_: None, lambda lesson, _: heard.append(lesson.name)
        )
    assert heard == ["waited for a b c", "b", "waited for a c", "waited for a c", "a"]
