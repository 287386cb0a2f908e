"""What the student leaves that somebody could go on from: between two iterations, and never in the middle of
one."""

import threading
from typing import Any
from unittest.mock import Mock

import pytest
import ray
import torch

from actors.learning import Learning
from actors.repairs import Halted
from actors.student import Lesson, StudentWorker, student_state
from fusion.assembly import build_student
from fusion.health import Limits
from fusion.methods import Dfmf, Dfq, Method
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


@pytest.mark.parametrize("method", [Dfmf(), Dfq(), Dfq(staleness=1)], ids=["dfmf", "dfq", "dfq, 1"])
def test_without_prefetch_too_a_snapshot_has_everybody_at_the_same_iteration(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    def skipped(self: Learning) -> None:
        self._source.taken(self.done)
        self.done += 1

    monkeypatch.setattr(Learning, "iteration", skipped)
    monkeypatch.setattr(Learning, "report", lambda _: None)
    monkeypatch.setattr(ray, "put", lambda state: state)
    group, chosen = Mock(), settings(method=method)
    worker = StudentWorker(prefetch=0, device="cpu", threads=1)
    lesson: Lesson = {
        "settings": chosen,
        "sessions": {(0, 1): 1},
        "state": None,
        "limits": Limits(),
        "every": (1, None),
    }
    worker.begin([teacher(0), teacher(1)], {(0, 1): group}, None, lesson)
    worker.train_epoch(0)
    offer = worker.offer()
    assert offer is not None
    assert offer["student"]["iterations"] == 1
    calls = [call[0] for call in group.method_calls]
    assert calls[:4] == ["replay.remote", "step.remote", "snapshot.remote", "step.remote"]
    assert calls.count("snapshot.remote") == 1 + (method.lag or 0)
