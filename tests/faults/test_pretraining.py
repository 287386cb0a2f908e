"""Pretraining on Ray of which processes die or freeze ends by itself, with the bits of one that was not."""

from collections.abc import Iterator, Sequence

import pytest
import torch

from benchmarks.injection import Injector, freeze, kill
from fusion.data.labelled import LabelledImages
from fusion.pretraining import Recipe
from orchestrator import pretraining_phase, waiting
from orchestrator.cluster import placed
from orchestrator.distributed import RayEngine
from orchestrator.engines import Course, Job, Lesson, Weights
from orchestrator.local import LocalEngine
from orchestrator.sections import EngineSettings
from tests.tiny import SPEC, settings, teacher

pytestmark = pytest.mark.ray

RECIPE = Recipe(epochs=40, milestones=(30,), batch_size=16)
SETTINGS = EngineSettings(silent_seconds=8.0)


def lessons() -> list[Lesson]:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (320, 1, 8, 8), generator=draw, dtype=torch.uint8)
    labels = torch.randint(4, (320,), generator=draw)
    train = LabelledImages(images, labels, SPEC.classes)
    return [Lesson(name=name, network="resnet8-w8", spec=SPEC, train=train) for name in "abcd"]


@pytest.fixture(scope="module")
def engine(ray_cluster: None) -> Iterator[RayEngine]:
    with placed(2, SETTINGS, print) as (plan, group):
        yield RayEngine(SETTINGS, plan, group, keep_actors=True)


def taught(
    engine: RayEngine | LocalEngine,
    observer: Injector,
    todo: Sequence[Lesson] | None = None,
    recipe: Recipe = RECIPE,
) -> dict[str, Weights]:
    found: dict[str, Weights] = {}
    course = Course(
        lessons=todo or lessons(),
        recipe=recipe,
        seed=0,
        taught=lambda lesson, weights: found.update({lesson.name: weights}),
        advanced=observer.advanced,
        said=observer.said,
    )
    engine.pretrain(course)
    return found


def test_a_pretraining_that_was_hit_has_the_bits_of_one_that_was_not(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process is killed, the other frozen; each is one loss."""
    kind = "PretrainingWorker"
    # Asked every two seconds, a lesson may be over, and its process ending, before it is known to have begun.
    monkeypatch.setattr(waiting, "PULSE_SECONDS", 0.1)
    monkeypatch.setattr(pretraining_phase, "POLL_SECONDS", 0.05)
    observer = Injector({("pretraining", 5): lambda: (kill(kind)(), freeze(kind)())})
    found = taught(engine, observer)
    assert observer.harms == {}, "no harm was done"
    assert observer.text().count("; restart 1 of at most 10") == 2, observer.text()
    assert observer.text().count(" of at most 10") == 2, observer.text()
    assert observer.text().count(" was silent for ") == 1, observer.text()
    for name, weights in taught(LocalEngine(threads=1), Injector({})).items():
        assert all(torch.equal(weights[key], found[name][key]) for key in weights)


def test_actors_that_are_kept_for_the_next_fusion_do_not_stand_in_its_way(engine: RayEngine) -> None:
    job = Job(teachers=[teacher(0), teacher(1)], settings=settings(), evaluation=None)
    engine.fuse(job, Injector({}))
    assert set(taught(engine, Injector({}), lessons()[:1], Recipe(epochs=1, milestones=(1,)))) == {"a"}
    engine.fuse(job, Injector({}))
