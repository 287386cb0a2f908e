"""What a run is part of: nothing, or a sweep."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager

from orchestrator.config import RunConfig
from orchestrator.engines import Engine
from orchestrator.local import LocalEngine
from orchestrator.recording import Reported
from orchestrator.stopping import Stopping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a run gets that is part of something larger."""

    engine: Callable[[RunConfig, Callable[[str], None]], AbstractContextManager[Engine]]
    """Instead of one on a cluster of its own; takes who hears what a person should know."""
    tags: Mapping[str, str]
    """For its run in MLflow."""
    reported: Reported
    """Hears of each epoch; KeyboardInterrupt stops the run."""
    stopping: Stopping


def alone() -> Surroundings:
    """Of a run that is part of nothing."""

    def ignore(_epoch: int, _metrics: Mapping[str, float]) -> None:
        """Nobody listens."""

    return Surroundings(engine=open_engine, tags={}, reported=ignore, stopping=Stopping())


@contextlib.contextmanager
def open_engine(config: RunConfig, say: Callable[[str], None]) -> Iterator[Engine]:
    """The one that the configuration names; a private cluster lives as long as the block."""
    if config.engine.mode == "local":
        yield LocalEngine(config.engine.threads)
    else:
        from orchestrator.distributed import ray_engine  # Imports Ray, which takes a second.

        with ray_engine(config.engine, config.num_parties, say) as engine:
            yield engine
