"""Which resources every actor of a run gets: a pure function of the configuration and what the cluster
has."""

import dataclasses
import math

from orchestrator.config import EngineSettings


@dataclasses.dataclass(frozen=True)
class Share:
    """What one actor reserves."""

    cpus: float
    gpus: float

    @property
    def device(self) -> str:
        """Where its tensors live."""
        return "cuda" if self.gpus > 0 else "cpu"

    @property
    def bundle(self) -> dict[str, float]:
        """As Ray's placement groups take it."""
        return {name: amount for name, amount in (("CPU", self.cpus), ("GPU", self.gpus)) if amount > 0}


@dataclasses.dataclass(frozen=True)
class Plan:
    """The resources of a run: one bundle for the student, one for each party."""

    student: Share
    parties: list[Share]

    @property
    def bundles(self) -> list[dict[str, float]]:
        """The placement group's bundles: the student's first, then the parties'."""
        return [self.student.bundle, *(party.bundle for party in self.parties)]

    @property
    def gpus(self) -> float:
        """GPUs that the whole run reserves."""
        return self.student.gpus + sum(party.gpus for party in self.parties)

    @property
    def cpus(self) -> float:
        """CPUs that the whole run reserves."""
        return self.student.cpus + sum(party.cpus for party in self.parties)


def plan_actors(num_parties: int, engine: EngineSettings, cpus: float, gpus: float) -> Plan:
    """Share out `cpus` and `gpus` of a cluster; what the configuration names is taken as it is.

    With fewer GPUs than actors, as many actors share a GPU as needed; the same holds for CPUs.
    """
    actors = num_parties + 1
    gpu_share = _share(gpus, actors)
    student_gpus = gpu_share if engine.student_gpus is None else engine.student_gpus
    party_gpus = gpu_share if engine.gpus_per_party is None else engine.gpus_per_party
    cpu_share = _share(cpus, actors) or 1.0
    return Plan(Share(cpu_share, student_gpus), [Share(cpu_share, party_gpus)] * num_parties)


def _share(available: float, actors: int) -> float:
    """1, or the part of 1 with which `actors` fit when each unit is shared by equally many; rounded down."""
    if available <= 0:
        return 0.0
    return (
        math.floor(100 / math.ceil(actors / math.floor(available) if available >= 1 else actors / available))
        / 100
    )
