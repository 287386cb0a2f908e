"""A run that is stopped in the middle of an iteration leaves no state that anybody could go on from."""

import threading
from typing import Any

import pytest
import torch

from actors.learning import Learning
from actors.repairs import Halted
from actors.student import student_state
from fusion.assembly import build_student
from fusion.health import Limits
from tests.tiny import CPU, settings, teacher


class Union:
    """Two union batches, of which the second never comes: its party is lost while the run stops."""

    images = torch.zeros(2, 12, 1, 8, 8)

    def __init__(self, student: Any) -> None:
        self._student = student

    def batch(self, index: int) -> Any:
        if index == 1:
            raise Halted
        images, chosen = self._student.view(0).look(self.images[0])
        return images, {one: self._student.teachers[one](images) for one in chosen}


def test_a_torn_iteration_is_no_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    student = build_student([teacher(0), teacher(1)], settings(), CPU)
    source: Any = None
    learning = Learning(student, {}, source, 0, None, Limits(), threading.Event())
    assert student_state(student, learning)["iterations"] == 0
    monkeypatch.setattr(learning, "_next", lambda _: (Union(student), [{}, {}]))
    with pytest.raises(Halted):
        learning.iteration()
    with pytest.raises(AssertionError, match="in the middle of an iteration"):
        student_state(student, learning)
