"""The Ray engine: every party and the student an actor, the images through the object store."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import ray
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.party import PartyActor
from actors.pretraining import PretrainingActor
from actors.process import to_tensors
from actors.student import StudentActor
from fusion.pretraining import Recipe
from orchestrator.cluster import cluster, placed
from orchestrator.config import EngineSettings
from orchestrator.costs import count, faster_labelling
from orchestrator.engines import Advanced, Fused, Job, Lesson, Observer, Weights
from orchestrator.phases import main_phase, on_workers, warm_up
from orchestrator.placement import Plan, Share
from orchestrator.waiting import POLL_SECONDS, get


class RayEngine:
    """Works on the cluster that Ray is connected to, inside the run's placement group."""

    def __init__(self, settings: EngineSettings, plan: Plan, group: PlacementGroup) -> None:
        self._settings = settings
        self._plan = plan
        self._group = group

    def pretrain(
        self, lessons: Sequence[Lesson], recipe: Recipe, seed: int, advanced: Advanced
    ) -> list[Weights]:
        """Side by side, as many at once as there are bundles."""
        shares = self._plan.placed
        total = len(lessons) * recipe.epochs
        trained: list[Weights] = []
        for first in range(0, len(lessons), len(shares)):
            batch = lessons[first : first + len(shares)]
            workers = [
                PretrainingActor.options(**self._options(bundle, share)).remote(
                    share.device, self._settings.threads
                )
                for bundle, share in zip(range(len(batch)), shares, strict=False)
            ]
            calls = [
                worker.train.remote(one.name, one.network, one.spec, one.train, recipe, seed)
                for worker, one in zip(workers, batch, strict=True)
            ]
            while ray.wait(calls, num_returns=len(calls), timeout=POLL_SECONDS)[1]:
                done = sum(get([worker.done.remote() for worker in workers]))
                advanced("pretraining", first * recipe.epochs + done, total)
            trained += [to_tensors(arrays) for arrays in get(calls)]
        return trained

    def fuse(self, job: Job, observer: Observer) -> Fused:
        """The parties and the student as actors.

        Raises:
            ActorLost: one of them died or raised.
        """
        threads = self._settings.threads
        groups = {
            group.members: PartyActor.options(**self._options(bundle, group.share)).remote(
                {index: job.teachers[index] for index in group.members},
                len(job.teachers),
                job.settings,
                group.share.device,
                threads,
            )
            for bundle, group in enumerate(self._plan.groups, len(self._plan.placed) - len(self._plan.groups))
        }
        by_parties = self.labelling(job) == "parties"
        if by_parties:
            observer.said("the parties label the student's images (engine.labelling)")
        teachers = [teacher.card for teacher in job.teachers] if by_parties else list(job.teachers)
        if len(self._plan.students) > 1:
            warm_up(list(groups.values()), job, observer)
            return on_workers(self._plan, self._settings, teachers, groups, job, observer)
        share = self._plan.students[0]
        student = StudentActor.options(**self._options(0, share)).remote(
            teachers,
            job.settings,
            groups,
            self._settings.prefetch,
            job.evaluation,
            share.device,
            threads,
        )
        warm_up(list(groups.values()), job, observer)
        return main_phase(student, list(groups.values()), job, observer)

    def labelling(self, job: Job) -> Literal["student", "parties"]:
        """Where the teachers label: as configured, or where it should be faster."""
        if self._settings.labelling != "auto":
            return self._settings.labelling
        networks = [teacher.network for teacher in job.teachers]
        return faster_labelling(
            count(job.settings, job.teachers[0].spec, networks), self._plan, self._settings
        )

    def _options(self, bundle: int, share: Share) -> dict[str, Any]:
        return {
            "num_cpus": share.cpus,
            "num_gpus": share.gpus,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                self._group, placement_group_bundle_index=bundle
            ),
        }


@contextlib.contextmanager
def ray_engine(settings: EngineSettings, num_parties: int, say: Callable[[str], None]) -> Iterator[RayEngine]:
    """Within the block there is a cluster with what the run needs (see `orchestrator.cluster`)."""
    with cluster(settings), placed(num_parties, settings, say) as (plan, group):
        yield RayEngine(settings, plan, group)
