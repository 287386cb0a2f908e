"""What an iteration costs every actor, and how fast a run goes for it: counted operations, a pure model."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch

from fusion.assembly import FusionSettings
from fusion.evaluation import forward_flops
from fusion.generator import build_generator
from fusion.networks import ImageSpec, build_network

Labelling: TypeAlias = Literal["student", "parties"]

BYTES = 4
STORE_BYTES = 1e9
"""A second of an object's way through the object store; an order of magnitude."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """Of one iteration (and of the warm-up), party by party. A backward pass counts as two forward passes,
    one to the input alone as one."""

    warmup_flops: tuple[float, ...]
    """The whole warm-up."""
    party_flops: tuple[float, ...]
    """A party's own training and its images for the union."""
    label_flops: tuple[float, ...]
    """A teacher labelling every union batch."""
    student_flops: float
    """The student learning from labelled batches, but for what each teacher adds."""
    asking_flops: tuple[float, ...]
    """What a teacher that is asked adds to that: its VID part of Eq. (1)."""
    image_bytes: float
    """The union batches."""
    label_bytes: tuple[float, ...]
    """A teacher's logits and maps for every union batch."""
    asked: float
    """Share of the teachers that label a batch (`schedule.teachers_per_batch`)."""
    in_turns: bool = False
    """Whether the parties wait for the student in each iteration, as it does for them (lockstep)."""

    @property
    def total_flops(self) -> float:
        """One iteration of everybody."""
        asked = sum(self.label_flops) + sum(self.asking_flops)
        return sum(self.party_flops) + self.student_flops + self.asked * asked


def count(settings: FusionSettings, spec: ImageSpec, teachers: Sequence[str]) -> Costs:
    """Count the operations of a fusion of networks `teachers` on images of `spec`, the student's.

    A teacher that knows fewer classes is counted with a last layer for all of them.
    """
    schedule, method, parties = settings.schedule, settings.method, len(teachers)
    union = schedule.share(parties) * parties
    image = (1, spec.channels, spec.size, spec.size)
    g = forward_flops(build_generator(settings.generator, spec), (1, settings.generator.latent_dim))
    student = build_network(settings.student, spec)
    s = forward_flops(student, image)
    networks = {name: build_network(name, spec) for name in dict.fromkeys(teachers)}
    flops = {name: forward_flops(network, image) for name, network in networks.items()}
    maps = {name: _map_numbers(name, spec) for name in networks}
    warmup, own, label, asking, label_bytes = [], [], [], [], []
    for name in teachers:
        t = flops[name]
        a = _critic_flops(settings, t, s)
        warmup.append(schedule.warmup_steps * schedule.batch_size * (3.0 * g + 2 * t))
        made, drawn = g * method.has_generator, g * (method.images_from == "generator")
        update = method.images_at_once(schedule.batch_size) * (
            3.0 * made + 2 * method.teacher_passes * t + 2 * a
        )
        assistant = (
            schedule.m_ga * schedule.batch_size * (drawn + t + 3.0 * a) * (method.critic == "assistant")
        )
        own.append(
            update * method.updates_per_iteration + assistant + schedule.m_s * schedule.share(parties) * drawn
        )
        label.append(schedule.m_s * union * float(t))
        regressor = 2 * student.feature_channels * maps[name] * (method.beta > 0)
        asking.append(schedule.m_s * union * 3.0 * regressor)
        label_bytes.append(BYTES * schedule.m_s * union * float(maps[name] + len(spec.classes)))
    return Costs(
        warmup_flops=tuple(warmup),
        party_flops=tuple(own),
        label_flops=tuple(label),
        student_flops=schedule.m_s * union * 3.0 * s,
        asking_flops=tuple(asking),
        image_bytes=BYTES * schedule.m_s * union * float(spec.channels * spec.size**2),
        label_bytes=tuple(label_bytes),
        asked=schedule.labellers(parties) / parties,
        in_turns=method.lag == 0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seconds:
    """`Costs` on some hardware: measured, or from operations a second."""

    party: tuple[float, ...]
    label: tuple[float, ...]
    student: float
    asking: tuple[float, ...]
    images: float
    """The union batches' way to the student."""
    labels: tuple[float, ...]
    """One teacher's outputs' way to the student."""
    asked: float = 1.0


def seconds(
    costs: Costs, *, party_rate: float, label_rate: float, student_rate: float, store_rate: float
) -> Seconds:
    """`costs` at so many operations a second of a party's actor, of who labels and of the student, and bytes
    of the store."""
    return Seconds(
        party=tuple(one / party_rate for one in costs.party_flops),
        label=tuple(one / label_rate for one in costs.label_flops),
        student=costs.student_flops / student_rate,
        asking=tuple(one / student_rate for one in costs.asking_flops),
        images=costs.image_bytes / store_rate,
        labels=tuple(one / store_rate for one in costs.label_bytes),
        asked=costs.asked,
    )


def lanes(
    time: Seconds, groups: Sequence[Sequence[int]], labelling: Labelling, workers: int = 1
) -> list[float]:
    """Seconds of work an iteration gives to the student (divided over its `workers`) and to each group of
    parties."""
    learning = time.student + time.asked * sum(time.asking)
    student, own = learning / workers + time.images, list(time.party)
    if labelling == "student":
        student += time.asked * sum(time.label) / workers
    else:
        student += time.images + time.asked * sum(time.labels) / workers
        own = [one + time.asked * label for one, label in zip(own, time.label, strict=True)]
    return [student, *(sum(own[index] for index in members) for members in groups)]


def iteration_seconds(work: Sequence[float], processors: float) -> float:
    """Seconds between two iterations once the pipeline is full: the longest lane, or all work over all
    processors where lanes have to share them."""
    return max(max(work), sum(work) / processors)


def _critic_flops(settings: FusionSettings, teacher: float, student: float) -> float:
    """Of one image through the network that judges a generator."""
    if settings.method.critic == "none":
        return 0.0
    if settings.method.critic == "student":
        return student
    return teacher if settings.assistant == "teacher" else student


def _map_numbers(name: str, spec: ImageSpec) -> int:
    """Numbers in the last convolutional map of one image."""
    with torch.device("meta"):
        network = build_network(name, spec).eval()
        features = network.feature_map(torch.empty(1, spec.channels, spec.size, spec.size))
    return features.numel()
