"""How long a run takes as it is placed: `orchestrator.costs` on lanes that share CPUs or GPUs."""

import dataclasses
import math
from collections.abc import Sequence

from orchestrator.costs import STORE_BYTES, Costs, Labelling, iteration_seconds, lanes, seconds
from orchestrator.placement import Plan, Share
from orchestrator.sections import EngineSettings

CPU_FLOPS, GPU_FLOPS = 5e10, 2e13
"""Orders of magnitude a second of a CPU thread and of a GPU, for a choice between two plans, where only their
ratio counts, and for a GPU that is not here to be measured."""
MARGIN = 0.9
"""`labelling: parties` has to take less than this share of the other's time to be chosen."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hardware:
    """What lanes run on."""

    cpu_rate: float
    """Operations a second of a lane without a GPU."""
    cpu_lanes: float
    """How many of those can work at once."""
    gpu_rate: float = GPU_FLOPS
    """Operations a second of a GPU; lanes that share one take turns."""

    def rate(self, share: Share) -> float:
        """Of one lane that has what it runs on for itself."""
        return self.gpu_rate if share.gpus > 0 else self.cpu_rate


def warmup_seconds(costs: Costs, plan: Plan, hardware: Hardware) -> float:
    """The whole warm-up, in which the student has nothing to do."""
    work = [
        sum(costs.warmup_flops[index] for index in group.members) / hardware.rate(group.share)
        for group in plan.groups
    ]
    return _together(work, [group.share for group in plan.groups], plan, hardware)


def period(costs: Costs, plan: Plan, hardware: Hardware, labelling: Labelling) -> float:
    """Seconds between two iterations; where parties and student wait for each other, one after the other."""
    workers = len(plan.students)
    party, student = (hardware.rate(share) for share in (plan.groups[0].share, plan.students[0]))
    time = seconds(
        costs,
        party_rate=party,
        label_rate=student if labelling == "student" else party,
        student_rate=student,
        store_rate=STORE_BYTES,
    )
    learning, *own = lanes(time, [group.members for group in plan.groups], labelling, workers)
    work = [learning] * workers + own
    if not costs.in_turns:
        return _together(work, plan.shares, plan, hardware)
    first = _together(work[:workers], plan.students, plan, hardware)
    return first + _together(own, plan.shares[workers:], plan, hardware)


def faster_labelling(costs: Costs, plan: Plan, engine: EngineSettings) -> Labelling:
    """Where the teachers' outputs are computed in less time; at the student unless the other is clearly
    better."""
    hardware = Hardware(cpu_rate=engine.threads * CPU_FLOPS, cpu_lanes=max(1.0, plan.cpus))
    here, there = (period(costs, plan, hardware, labelling) for labelling in ("student", "parties"))
    return "parties" if there < MARGIN * here else "student"


def _together(work: Sequence[float], shares: Sequence[Share], plan: Plan, hardware: Hardware) -> float:
    """Lanes that work side by side: those without a GPU share the CPUs, the others the plan's GPUs."""
    on_cpus = [one for one, share in zip(work, shares, strict=True) if share.gpus == 0]
    on_gpus = [one for one, share in zip(work, shares, strict=True) if share.gpus > 0]
    gpus = math.ceil(round(plan.gpus, 6))
    taken = [(on_cpus, hardware.cpu_lanes), (on_gpus, float(gpus))]
    return max(iteration_seconds(lane, processors) for lane, processors in taken if lane)
