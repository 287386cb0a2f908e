"""Which actors a run has and what each reserves: a pure function of the configuration and what the cluster
has."""

import dataclasses
import itertools
import math

from orchestrator.sections import EngineSettings


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
class Group:
    """Parties that live in one actor."""

    members: tuple[int, ...]
    share: Share


@dataclasses.dataclass(frozen=True)
class Plan:
    """The resources of a run: one bundle for each worker of the student, one for each group of parties."""

    students: list[Share]
    groups: list[Group]

    @property
    def shares(self) -> list[Share]:
        """What each actor reserves, in the order of the bundles: the student's workers first."""
        return [*self.students, *(group.share for group in self.groups)]

    @property
    def placed(self) -> list[Share]:
        """What the run's placement group holds: all of them, but for several workers of the student, for
        which Ray Train makes a group of its own."""
        return self.shares if len(self.students) == 1 else [group.share for group in self.groups]

    @property
    def bundles(self) -> list[dict[str, float]]:
        """The placement group's bundles."""
        return [share.bundle for share in self.placed]

    @property
    def workers(self) -> list[dict[str, float]]:
        """The bundles that Ray Train will ask for itself; empty: none."""
        return [share.bundle for share in self.students] if len(self.students) > 1 else []

    @property
    def gpus(self) -> float:
        """GPUs that the whole run reserves."""
        return sum(share.gpus for share in self.shares)

    @property
    def cpus(self) -> float:
        """CPUs that the whole run reserves."""
        return sum(share.cpus for share in self.shares)

    @property
    def num_parties(self) -> int:
        """K."""
        return sum(len(group.members) for group in self.groups)


def plan_actors(num_parties: int, engine: EngineSettings, cpus: float, gpus: float) -> Plan:
    """Share out `cpus` and `gpus` of a cluster; what the configuration names is taken as it is.

    The student comes first: it gets a GPU where there are two, half of an only one. The parties share what is
    left: a GPU each where there are enough, else as many in one actor as have to share a GPU (processes that
    share one take turns and each keeps its own CUDA context). Without GPUs there is an actor for every CPU.
    """
    workers = engine.student_workers
    student_gpus = engine.student_gpus
    if student_gpus is None:
        wanted = workers if engine.gpus_per_party == 0 else workers + 1
        student_gpus = 0.0 if gpus <= 0 else 1.0 if gpus >= wanted else gpus / (2 * workers)
        student_gpus = math.floor(100 * student_gpus) / 100
    left = max(0.0, gpus - workers * student_gpus)
    if engine.gpus_per_party is not None:
        actors = engine.party_actors or (num_parties if engine.gpus_per_party > 0 else math.floor(cpus))
    elif left > 0:
        actors = engine.party_actors or math.floor(left)
    else:
        actors = engine.party_actors or math.floor(cpus)
    actors = max(1, min(num_parties, actors))
    members = _blocks(num_parties, actors)
    cpu_share = _share(cpus, actors + workers) or 1.0
    if engine.gpus_per_party is not None:
        party_gpus = [engine.gpus_per_party * len(block) for block in members]
    else:
        party_gpus = [_share(left, actors)] * actors
    return Plan(
        [Share(cpu_share, student_gpus)] * workers,
        [Group(block, Share(cpu_share, each)) for block, each in zip(members, party_gpus, strict=True)],
    )


def _blocks(num_parties: int, actors: int) -> list[tuple[int, ...]]:
    """Parties in order, in blocks whose sizes differ by at most one."""
    edges = [index * num_parties // actors for index in range(actors + 1)]
    return [tuple(range(first, stop)) for first, stop in itertools.pairwise(edges)]


def _share(available: float, actors: int) -> float:
    """1, or the part of 1 with which `actors` fit when each unit is shared by equally many; rounded down."""
    if available <= 0:
        return 0.0
    units = math.floor(available) if available >= 1 else available
    return math.floor(100 / math.ceil(actors / units)) / 100
