"""The Ray engine: every party and the student an actor, the images through the object store."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import ray
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.feed import Members
from actors.party import PartyActor
from actors.pretraining import PretrainingActor
from actors.student import StudentActor
from fusion.assembly import student_spec
from orchestrator.cluster import cluster, placed
from orchestrator.costs import count
from orchestrator.crew import STUDENT, Crew, GoBack, StudentLost, kill_all
from orchestrator.engines import Course, Fused, Hardware, Job, Lesson, Observer
from orchestrator.environment import processor
from orchestrator.group_phase import GroupPhase
from orchestrator.main_phase import MainPhase
from orchestrator.placement import Plan, Share
from orchestrator.pretraining_phase import Begin, Teaching, pretrain_all
from orchestrator.sections import EngineSettings
from orchestrator.speed import faster_labelling
from orchestrator.warm_up import WarmUp

KIND = "accelerator_type:"
"""How Ray's names for kinds of GPUs begin."""


class RayEngine:
    """Works on the cluster that Ray is connected to, inside the run's placement group."""

    def __init__(
        self, settings: EngineSettings, plan: Plan, group: PlacementGroup, *, keep_actors: bool = False
    ) -> None:
        """`keep_actors`: those of a fusion that ended well are taken for the next; a process takes seconds to
        start."""
        self._settings = settings
        self._plan = plan
        self._group = group
        self._keep_actors = keep_actors
        self._kept: tuple[dict[Members, Any], Any] | None = None
        self._sessions = itertools.count(1)

    @property
    def hardware(self) -> Hardware:
        """Of the actors that the parties live in, and of all, any of which may pretrain."""
        return Hardware(
            parties=_names([group.share for group in self._plan.groups]), lessons=_names(self._plan.placed)
        )

    def pretrain(self, course: Course) -> None:
        """Side by side, as many at once as there are bundles. What is lost is begun again.

        Raises:
            ActorLost: one failed, or was lost too often.
        """
        if self._kept is not None:  # They hold the bundles.
            kill_all(*self._kept)
            self._kept = None

        def place(bundle: int, share: Share) -> Begin:
            options = self._options(bundle, share)

            def begin(lesson: Lesson) -> Teaching:
                actor = PretrainingActor.options(**options, max_restarts=-1).remote(
                    share.device, self._settings.threads
                )
                return Teaching(actor, lesson, course, self._settings)

            return begin

        pretrain_all(course, [place(bundle, share) for bundle, share in enumerate(self._plan.placed)])

    def fuse(self, job: Job, observer: Observer) -> Fused:
        """The parties and the student as actors, from `job.start` on. Those that are lost are restored.

        Raises:
            ActorLost: one of them raised, or died too often.
            Diverged: the numbers are no good.
            KeyboardInterrupt: it was to stop; the newest snapshot has been kept.
        """
        by_parties = self.labelling(job) == "parties"
        if by_parties:
            observer.said("the parties label the student's images (engine.labelling)")
        teachers = [teacher.card for teacher in job.teachers] if by_parties else list(job.teachers)
        alone = len(self._plan.students) == 1
        groups, student = self._kept or (self._make_groups(), self._make_student() if alone else None)
        self._kept = None
        crew = Crew(groups, student, teachers, self._settings, job, observer, self._sessions)
        phase: MainPhase | GroupPhase
        if alone:
            phase = MainPhase(crew, job, observer)
        else:
            phase = GroupPhase(crew, self._plan, self._settings, teachers, job, observer)
        try:
            fused = self._run(crew, phase, job, observer)
        except Exception:
            crew.kill()
            raise  # After an interruption Ray may be gone already; the actors end with the driver.
        if self._keep_actors:
            self._kept = groups, student
        else:
            crew.kill()
        return fused

    def _run(self, crew: Crew, phase: MainPhase | GroupPhase, job: Job, observer: Observer) -> Fused:
        """Until it ends well; a lost student begins again from the newest snapshot, and the parties with it;
        so do all where a party is lost that cannot catch up alone."""
        start, again = job.start, False
        while True:
            crew.begin_groups(start)
            if start.student is None:
                WarmUp(crew, job, observer, start).run(again)
            try:
                return phase.run(start)
            except StudentLost as error:
                crew.restarts.note(STUDENT, str(error))
            except GoBack as reason:
                observer.said(str(reason))
            start, again = job.keeper.newest(), True

    def _make_groups(self) -> dict[Members, Any]:
        first = len(self._plan.placed) - len(self._plan.groups)
        return {
            group.members: PartyActor.options(**self._options(bundle, group.share), max_restarts=-1).remote(
                group.share.device, self._settings.threads
            )
            for bundle, group in enumerate(self._plan.groups, first)
        }

    def _make_student(self) -> Any:
        share = self._plan.students[0]
        options = self._options(0, share)
        return StudentActor.options(**options, max_restarts=-1).remote(
            self._settings.prefetch, share.device, self._settings.threads
        )

    def labelling(self, job: Job) -> Literal["student", "parties"]:
        """Where the teachers label: as configured, or where it should be faster."""
        if self._settings.labelling != "auto":
            return self._settings.labelling
        networks = [teacher.network for teacher in job.teachers]
        spec = student_spec(job.teachers, job.settings.classes)
        return faster_labelling(count(job.settings, spec, networks), self._plan, self._settings)

    def _options(self, bundle: int, share: Share) -> dict[str, Any]:
        return {
            "num_cpus": share.cpus,
            "num_gpus": share.gpus,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                self._group, placement_group_bundle_index=bundle
            ),
        }


def _names(shares: Sequence[Share]) -> str:
    """What they compute on. This process may have no GPU itself, so of GPUs it is the cluster's kinds."""
    devices = {share.device for share in shares}
    names = [processor()] if "cpu" in devices else []
    if "cuda" in devices:
        found = sorted(name for name in ray.cluster_resources() if name.startswith(KIND))
        names.append(" ".join(["GPU", *(name.removeprefix(KIND) for name in found)]))
    return ", ".join(names)


@contextlib.contextmanager
def ray_engine(settings: EngineSettings, num_parties: int, say: Callable[[str], None]) -> Iterator[RayEngine]:
    """Within the block there is a cluster with what the run needs (see `orchestrator.cluster`)."""
    with cluster(settings) as checked, placed(num_parties, settings, say, checked) as (plan, group):
        yield RayEngine(settings, plan, group)
