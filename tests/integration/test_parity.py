"""The distributed run equals Algorithm 1 bit for bit, and the test notices when it does not."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import fusion.party
from fusion.augmentation import Augmentation
from fusion.compute import Compute
from fusion.epoch import EpochReport
from fusion.generator import GeneratorSettings
from fusion.methods import (
    AdaptiveDeepInversion,
    Cmi,
    CmiGa,
    Dafl,
    DeepInversion,
    Dfq,
    DfqNoAdv,
    Fast,
    Nayer,
    Zskt,
)
from fusion.networks import ImageSpec
from fusion.schedule import Schedule
from fusion.teachers import Teacher, TeacherCard
from orchestrator import crew
from orchestrator.engines import Fused, Job
from orchestrator.local import LocalEngine
from orchestrator.sections import EngineSettings
from tests.engines import KeptEngine, kept_engine
from tests.tiny import SPEC, settings, teacher

pytestmark = pytest.mark.ray


class Listener:
    def __init__(self) -> None:
        self.reports: list[EpochReport] = []

    def said(self, line: str) -> None: ...

    def advanced(self, phase: str, done: int, total: int) -> None:
        assert 0 <= done <= total

    def epoch(self, report: EpochReport) -> None:
        self.reports.append(report)

    def student(self, weights: Any, iterations: int) -> None: ...


@pytest.fixture(scope="module")
def kept(ray_cluster: None) -> Iterator[KeptEngine]:
    with kept_engine() as engine:
        yield engine


def on_ray(kept: KeptEngine, job: Job, prefetch: int = 1, **engine_changes: Any) -> tuple[Fused, Listener]:
    engine, listener = EngineSettings(prefetch=prefetch, **engine_changes), Listener()
    return kept.fuse(job, engine, listener), listener


def locally(job: Job) -> tuple[Fused, Listener]:
    listener = Listener()
    return LocalEngine(threads=1).fuse(job, listener), listener


def tensors(fused: Fused) -> dict[str, torch.Tensor]:
    found = {f"student/{name}": value for name, value in fused.student.items()}
    found |= {f"vids/{name}": value for name, value in fused.vids.items()}
    for index, roles in enumerate(fused.parties):
        found |= {
            f"{index}/{role}/{name}": value for role, state in roles.items() for name, value in state.items()
        }
    return found


def different(first: Fused, second: Fused) -> list[str]:
    mine, theirs = tensors(first), tensors(second)
    assert mine.keys() == theirs.keys()
    return [name for name, value in mine.items() if not torch.equal(value, theirs[name])]


def job(teachers: list[Teacher], **changes: object) -> Job:
    return Job(teachers=teachers, settings=settings(**changes), evaluation=None)


def other_classes(classes: str) -> ImageSpec:
    return dataclasses.replace(SPEC, classes=tuple(classes))


def knows(index: int, classes: str) -> Teacher:
    return teacher(index, spec=other_classes(classes))


COLOUR = dataclasses.replace(SPEC, channels=3, mean=(0.3, 0.4, 0.5), std=(0.4, 0.3, 0.2))

SHORT = settings().schedule
CASES: dict[str, tuple[Job, int]] = {
    "one party": (job([teacher(0)]), 1),
    "two parties": (job([teacher(0), teacher(1)]), 1),
    "three parties": (job([teacher(index) for index in range(3)]), 1),
    "no prefetch": (job([teacher(0), teacher(1)]), 0),
    "prefetch beyond the end": (job([teacher(0), teacher(1)]), 9),
    "some teachers a batch": (
        job(
            [teacher(index) for index in range(3)], schedule=dataclasses.replace(SHORT, teachers_per_batch=2)
        ),
        1,
    ),
    "heterogeneous": (
        job(
            [
                teacher(0, "resnet8-w8"),
                teacher(1, "alexnet", dataclasses.replace(SPEC, mean=(0.5,), std=(0.2,))),
                teacher(2, "vgg11-bn"),
            ],
            student="resnet14",
            assistant="student",
            weights=(1.0, 2.0, 3.0),
        ),
        2,
    ),
    "colour images": (job([teacher(0, spec=COLOUR), teacher(1, spec=COLOUR)]), 1),
    "contiguous": (
        job([teacher(0, spec=COLOUR), teacher(1, spec=COLOUR)], compute=Compute(memory_format="contiguous")),
        1,
    ),
    "overlapping classes": (job([knows(0, "abcd"), knows(1, "dcef"), knows(2, "badc")]), 1),
    "disjoint classes in a given order": (
        job([knows(0, "abc"), knows(1, "de")], classes=("e", "d", "c", "b", "a"), weights=(1.0, 3.0)),
        1,
    ),
    "confidence": (job([teacher(0), teacher(1)], weights="confidence"), 1),
    "overlapping classes and confidence": (
        job(
            [knows(0, "abcd"), knows(1, "dcef"), knows(2, "badc")],
            weights="confidence",
            schedule=dataclasses.replace(SHORT, teachers_per_batch=2),
        ),
        1,
    ),
    "without assistants": (job([teacher(0), teacher(1)], method=Dafl()), 2),
    "inverted pixels": (
        job(
            [teacher(0), teacher(1)],
            method=DeepInversion(inversion_steps=2, inversion_every=2, bank_images=20),
            schedule=dataclasses.replace(SHORT, warmup_epochs=0),
        ),
        2,
    ),
    "inverted pixels judged by the student": (
        job(
            [teacher(0), teacher(1)],
            method=AdaptiveDeepInversion(inversion_steps=2, inversion_every=2, bank_images=20),
            schedule=dataclasses.replace(SHORT, warmup_epochs=0),
        ),
        2,
    ),
    "fresh generators, assistants": (
        job(
            [teacher(0), teacher(1)],
            method=CmiGa(inversion_steps=2, inversion_every=2, bank_images=20, beta=1.0),
            schedule=dataclasses.replace(SHORT, warmup_epochs=0),
        ),
        2,
    ),
    "fresh generators judged by the student": (
        job(
            [teacher(0), teacher(1)],
            method=Cmi(inversion_steps=2, inversion_every=2, bank_images=20, adv_tau=1.0),
            schedule=dataclasses.replace(SHORT, warmup_epochs=0),
        ),
        2,
    ),
    "a bank judged by the student": (
        job(
            [teacher(0), teacher(1)],
            method=Fast(inversion_steps=2, inversion_every=2, bank_images=20),
            schedule=dataclasses.replace(SHORT, warmup_epochs=0),
        ),
        2,
    ),
    "a bank judged by an older student": (
        job(
            [teacher(0), teacher(1)],
            method=Nayer(
                inversion_steps=2,
                inversion_every=2,
                bank_images=20,
                staleness=1,
                noisy_layer="batchnorm-linear-dropout",
            ),
            schedule=dataclasses.replace(SHORT, warmup_epochs=0),
        ),
        2,
    ),
    "frozen generators": (job([teacher(0), teacher(1)], method=DfqNoAdv()), 2),
    "judged by the student": (job([teacher(0), teacher(1)], method=Dfq()), 1),
    "judged by an older student": (job([teacher(0), teacher(1)], method=Dfq(staleness=2)), 1),
    "nothing but the student's judgement, overlapping classes": (
        job(
            [teacher(0, spec=other_classes("abcd")), teacher(1, spec=other_classes("dce"))],
            method=Zskt(),
            schedule=dataclasses.replace(SHORT, warmup_epochs=0),
        ),
        2,
    ),
    "bfloat16": (job([teacher(0), teacher(1)], compute=Compute(precision="bfloat16")), 1),
    "other options": (
        job(
            [teacher(0), teacher(1)],
            seed=5,
            generator=GeneratorSettings(latent_dim=8, width=16, output="sigmoid", sampling="running"),
            augmentation=Augmentation(jitter_probability=1.0),
        ),
        1,
    ),
}


@pytest.mark.parametrize(
    "case", sorted(CASES, key=lambda case: (CASES[case][1], len(CASES[case][0].teachers)))
)
def test_ray_gives_the_bits_of_algorithm_1(case: str, kept: KeptEngine) -> None:
    todo, prefetch = CASES[case]
    (ours, heard), (reference, expected) = on_ray(kept, todo, prefetch), locally(todo)
    assert different(ours, reference) == []
    assert ours.iterations == reference.iterations == todo.settings.schedule.iterations
    # Not only the weights: every loss term of every epoch too, and the images a person looks at.
    for mine, theirs in zip(heard.reports, expected.reports, strict=True):
        terms = {name: value for name, value in mine.metrics.items() if not name.startswith("engine/")}
        if mine.epoch >= 0:
            assert terms == theirs.metrics
        assert all((mine.samples[name] == theirs.samples[name]).all() for name in theirs.samples)


@pytest.mark.parametrize(
    ("case", "engine"),
    [
        ("three parties", {"labelling": "parties"}),
        ("overlapping classes", {"labelling": "parties"}),
        ("colour images", {"labelling": "parties"}),
        ("confidence", {"labelling": "parties"}),
        ("judged by the student", {"labelling": "parties"}),
        ("three parties", {"labelling": "parties", "prefetch": 0, "party_actors": 1}),
        ("overlapping classes and confidence", {"labelling": "parties", "prefetch": 0, "party_actors": 1}),
        ("heterogeneous", {"labelling": "parties", "prefetch": 2, "party_actors": 2}),
        ("some teachers a batch", {"labelling": "parties", "prefetch": 2, "party_actors": 2}),
        ("three parties", {"labelling": "student", "party_actors": 3}),
        ("some teachers a batch", {"labelling": "student", "party_actors": 3}),
        ("judged by an older student", {"labelling": "parties", "party_actors": 1}),
    ],
)
def test_who_labels_and_who_lives_where_changes_no_bit(
    case: str, engine: dict[str, Any], kept: KeptEngine
) -> None:
    todo = CASES[case][0]
    assert different(on_ray(kept, todo, **engine)[0], locally(todo)[0]) == []


def test_where_the_parties_label_the_student_is_given_no_weights(
    monkeypatch: pytest.MonkeyPatch, kept: KeptEngine
) -> None:
    given: dict[str, list[TeacherCard]] = {}
    original = crew.Crew.__init__

    def noted(self: crew.Crew, groups: Any, student: Any, teachers: Any, *rest: Any) -> None:
        given["student"] = list(teachers)
        original(self, groups, student, teachers, *rest)

    monkeypatch.setattr(crew.Crew, "__init__", noted)
    todo = CASES["two parties"][0]
    on_ray(kept, todo, labelling="parties")
    assert [type(one) for one in given["student"]] == [TeacherCard, TeacherCard]
    assert not any(torch.is_tensor(value) for one in given["student"] for value in vars(one).values())
    on_ray(kept, todo, labelling="student")
    assert [type(one) for one in given["student"]] == [Teacher, Teacher]


def more_updates(changed: Schedule) -> Schedule:
    return dataclasses.replace(changed, m_ga=changed.m_ga + 1)


def more_student_updates(changed: Schedule) -> Schedule:
    return dataclasses.replace(changed, m_s=changed.m_s + 1)


@pytest.mark.parametrize(
    ("what", "disturbed"),
    [
        ("seed", job([teacher(0), teacher(1)], seed=1)),
        ("assistant updates", job([teacher(0), teacher(1)], schedule=more_updates(settings().schedule))),
        (
            "student updates",
            job([teacher(0), teacher(1)], schedule=more_student_updates(settings().schedule)),
        ),
        ("order of the parties", job([teacher(1, name="party-0"), teacher(0, name="party-1")])),
    ],
)
def test_a_disturbed_run_has_other_bits(what: str, disturbed: Job, kept: KeptEngine) -> None:
    changed = different(on_ray(kept, disturbed)[0], locally(CASES["two parties"][0])[0])
    assert any(name.startswith("student/") for name in changed), f"{what} made no difference"


def test_a_disturbed_order_within_an_iteration_has_other_bits(
    monkeypatch: pytest.MonkeyPatch, kept: KeptEngine
) -> None:
    """Assistants before generators: the same updates, the same seeds, another order."""
    original: Callable[[fusion.party.Party], None] = fusion.party.Party.update_generator
    waiting: list[fusion.party.Party] = []

    def later(self: fusion.party.Party) -> None:
        waiting.append(self)

    def first_assistant(self: fusion.party.Party, _update: Any = fusion.party.Party.update_assistant) -> None:
        _update(self)
        if self in waiting:
            waiting.remove(self)
            original(self)

    monkeypatch.setattr(fusion.party.Party, "update_generator", later)
    monkeypatch.setattr(fusion.party.Party, "update_assistant", first_assistant)
    disturbed = locally(CASES["two parties"][0])[0]
    monkeypatch.undo()
    assert different(on_ray(kept, CASES["two parties"][0])[0], disturbed) != []
