"""A Ray engine whose actors stay from one test to the next: a process takes seconds to start."""

import contextlib
from collections.abc import Iterator

from orchestrator.cluster import placed
from orchestrator.distributed import RayEngine
from orchestrator.engines import Fused, Job, Observer
from orchestrator.sections import EngineSettings


class KeptEngine:
    """Of the settings and the number of parties that were asked for last; others make a new one."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._key: tuple[int, EngineSettings] | None = None
        self._engine: RayEngine | None = None

    def fuse(self, job: Job, settings: EngineSettings, observer: Observer) -> Fused:
        """As `RayEngine.fuse`."""
        key = (len(job.teachers), settings)
        if self._engine is None or self._key != key:
            self._engine = None
            self._stack.close()
            plan, group = self._stack.enter_context(placed(len(job.teachers), settings, observer.said))
            self._engine, self._key = RayEngine(settings, plan, group, keep_actors=True), key
        return self._engine.fuse(job, observer)


@contextlib.contextmanager
def kept_engine() -> Iterator[KeptEngine]:
    """Within the block; Ray is connected."""
    with contextlib.ExitStack() as stack:
        yield KeptEngine(stack)
