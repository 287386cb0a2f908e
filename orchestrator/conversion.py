"""Snapshots between the form that engines keep and the one in which actors give and take them."""

from collections.abc import Mapping
from types import MappingProxyType

from actors.party import PartyState
from actors.process import Arrays, as_tensor
from actors.student import StudentState
from orchestrator.snapshot import PartySnapshot, Snapshot, Tensors


def to_party_snapshots(
    states: Mapping[int, PartyState], metrics: Mapping[int, Mapping[str, float]] = MappingProxyType({})
) -> dict[int, PartySnapshot]:
    """What the parties' actors give, as a snapshot has it."""
    return {
        index: PartySnapshot(
            warmup_steps=one["warmup_steps"],
            iterations=one["iterations"],
            state=_tensors(one["state"]),
            metrics=metrics.get(index, {}),
        )
        for index, one in states.items()
    }


def to_snapshot(
    student: StudentState,
    parties: Mapping[int, PartyState],
    rewinds: int,
    others: Mapping[int, PartySnapshot] = MappingProxyType({}),
) -> Snapshot:
    """What the actors give; `others` are parties as they were before."""
    return Snapshot(
        iterations=student["iterations"],
        student=_tensors(student["state"]),
        parties={**others, **to_party_snapshots(parties)},
        records=student["records"],
        rewinds=rewinds,
    )


def to_party_state(one: PartySnapshot) -> PartyState:
    """What a party's actor takes."""
    return {
        "warmup_steps": one.warmup_steps,
        "iterations": one.iterations,
        "state": {name: tensor.numpy() for name, tensor in one.state.items()},
    }


def _tensors(state: Arrays) -> Tensors:
    return {name: as_tensor(array) for name, array in state.items()}
