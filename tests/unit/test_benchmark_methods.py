"""The benchmark of the methods: whole periods, full banks, and images counted as Algorithm 1 has them."""

import dataclasses

import pytest

from benchmarks.methods import MainPhase, row_of, whole_periods
from fusion.bank import ImageBank
from fusion.methods import AdaptiveDeepInversion, CmiGa, Dfmf, Dfq, Fast, Method
from tests.tiny import settings, teacher


def test_a_turn_is_whole_periods() -> None:
    assert whole_periods(Dfmf(), 7) == 7
    assert whole_periods(Fast(inversion_every=3), 7) == 9
    assert whole_periods(Fast(inversion_every=3), 9) == 9


@pytest.mark.parametrize(
    ("method", "updates", "of_teacher", "of_student", "of_assistant"),
    [
        # B = 12, K = 2, M_GA = 2, M_S = 2: 2 * 2 * 12 images are labelled for the student.
        (Dfmf(), 2, 48 + 24 + 48, 24, 24 + 48),
        (Dfq(), 2, 48 + 24, 24 + 24, 0),
        (Fast(inversion_steps=3, inversion_every=2, bank_images=20), 3, 48 + 36, 24 + 36, 0),
        (AdaptiveDeepInversion(inversion_steps=2, inversion_every=4, bank_images=20), 1, 48 + 12, 24 + 12, 0),
        # Each image goes through the teacher in two views.
        (CmiGa(inversion_steps=2, inversion_every=2, bank_images=20), 2, 48 + 48 + 48, 24, 24 + 48),
    ],
)
def test_images_and_updates_are_counted_over_whole_periods(
    method: Method, updates: float, of_teacher: float, of_student: float, of_assistant: float
) -> None:
    plan = dataclasses.replace(
        settings().schedule, warmup_epochs=0, epochs=3, iterations_per_epoch=whole_periods(method, 1)
    )
    phase = MainPhase([teacher(0), teacher(1)], settings(method=method, schedule=plan))
    for bank in (party.modules().get("bank") for party in phase.parties):
        assert bank is None or (isinstance(bank, ImageBank) and bank.filled() == bank.size)
    turns = [phase.turn(), phase.turn()]
    row = row_of(method.name, phase, {method.name: turns, "dfmf": turns})
    counted = {name: value for name, value in row.items() if name.endswith(("updates", "images"))}
    assert counted == {
        "generator_updates": updates,
        "teacher_images": of_teacher,
        "student_images": of_student,
        "assistant_images": of_assistant,
    }
    assert row["cpu_s_ratio"] == row["wall_s_ratio"] == 1.0
    assert row["cpu_s"] > 0
