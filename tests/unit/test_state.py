"""Snapshots of a party and of the student: what they hold decides everything that follows."""

import pytest
import torch

from fusion import algorithm
from fusion.assembly import build_party, build_student
from fusion.party import Party
from fusion.schedule import Schedule
from fusion.student import Student
from tests.tiny import CPU, settings, teacher

SCHEDULE = Schedule(warmup_epochs=1, epochs=2, iterations_per_epoch=3, m_ga=2, m_s=2, batch_size=12)


def fresh() -> tuple[list[Party], Student]:
    chosen, teachers = settings(schedule=SCHEDULE), [teacher(0), teacher(1)]
    parties = [build_party(index, 2, one, chosen, CPU) for index, one in enumerate(teachers)]
    return parties, build_student(teachers, chosen, CPU)


def whole(parties: list[Party], student: Student) -> dict[str, torch.Tensor]:
    states = {f"{party.index}/{name}": one for party in parties for name, one in party.state().items()}
    return states | {f"student/{name}": one for name, one in student.state().items()}


def different(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> list[str]:
    assert first.keys() == second.keys()
    return [name for name, tensor in first.items() if not torch.equal(tensor, second[name])]


def undisturbed() -> dict[str, torch.Tensor]:
    parties, student = fresh()
    algorithm.warm_up(parties, SCHEDULE)
    algorithm.fuse(parties, student, SCHEDULE)
    return whole(parties, student)


def resumed(done: int, forget: str = "") -> dict[str, torch.Tensor]:
    """Stopped after `done` iterations and gone on with new objects, which are not told what `forget`
    names."""
    parties, student = fresh()
    algorithm.warm_up(parties, SCHEDULE)

    class Stop(Exception): ...

    def stop(now: int) -> None:
        if now == done:
            raise Stop

    with pytest.raises(Stop):
        algorithm.fuse(parties, student, SCHEDULE, stop)
    new_parties, new_student = fresh()
    for old, new in ((student, new_student), *zip(parties, new_parties, strict=True)):
        begun = new.state()
        new.restore(
            {
                name: begun.get(name, torch.zeros_like(one)) if forget and forget in name else one
                for name, one in old.state().items()
            }
        )
    algorithm.fuse(new_parties, new_student, SCHEDULE, first=done)
    return whole(new_parties, new_student)


@pytest.mark.parametrize("done", [1, 2, 3, 5])
def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(done: int) -> None:
    assert different(resumed(done), undisturbed()) == []


@pytest.mark.parametrize("forget", ["momentum_buffer", "exp_avg", "running_mean", "raw_variance"])
def test_whatever_a_snapshot_leaves_out_makes_a_difference(forget: str) -> None:
    assert different(resumed(2, forget=forget), undisturbed()) != []


def test_a_snapshot_is_a_copy() -> None:
    parties, _ = fresh()
    parties[0].warm_up_step(0)
    state = parties[0].state()
    before = {name: one.clone() for name, one in state.items()}
    parties[0].warm_up_step(1)
    assert different(state, before) == []
    assert different(parties[0].state(), before) != []


def test_a_state_of_other_modules_is_refused() -> None:
    parties, student = fresh()
    state = student.state()
    name = next(iter(state))
    with pytest.raises(ValueError, match="missing"):
        student.restore({other: one for other, one in state.items() if other != name})
    with pytest.raises(ValueError, match="unknown"):
        student.restore(state | {"more/weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"not torch\.float32"):
        student.restore(state | {name: state[name].double()})
    with pytest.raises(ValueError, match="missing"):
        parties[0].restore(state)
