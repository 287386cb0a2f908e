"""A sweep as its folder describes it: what is run, under which names, and with which share of the cluster."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.placement import Plan, plan_actors
from orchestrator.sweep.space import CaseValue, Parameters, Space, with_values

Search: TypeAlias = Literal["grid", "random", "optuna"]
Scheduler: TypeAlias = Literal["none", "asha", "pbt"]

SIGNIFICANT_DIGITS = 4
"""Of drawn values: enough for any of them, and names stay short."""
TRIALS = "trials"
EPOCHS = "schedule.epochs"
LARGEST_NAME = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that a trial has to know; goes to the processes that run trials."""

    folder: Path
    """The sweep's; a path that all nodes see."""
    space_name: str
    space: Space
    base: dict[str, Any]
    """The configuration that is varied, as a tree."""
    seeds: list[int]
    search: Search
    scheduler: Scheduler
    samples: int
    """Points that are drawn, if they are."""
    concurrent: int
    """Trials at once."""
    plan: Plan | None
    """What each trial reserves on Ray; None: one process, without actors."""
    gpus: float
    """Of a trial that is one process."""
    parent: str | None
    """The sweep's run in MLflow."""

    @property
    def bundles(self) -> list[dict[str, float]]:
        """What a trial reserves. Its own process waits and takes nothing, unless it does the work itself."""
        if self.plan is None:
            alone = {"CPU": float(self.base["engine"]["threads"])}
            return [alone | ({"GPU": self.gpus} if self.gpus else {})]
        return [{}, *self.plan.bundles]

    def epochs(self, parameters: Mapping[str, CaseValue]) -> int:
        """Of the main phase of a trial."""
        chosen = parameters.get(EPOCHS)
        return chosen if isinstance(chosen, int) else int(self.base["schedule"]["epochs"])

    def config(self, parameters: Parameters, seed: int, name: str) -> RunConfig:
        """The configuration of a trial."""
        own = {"name": name, "output": str(self.folder / TRIALS), "seed": seed}
        return with_values(self.base, {**parameters, **own}, f"trial {name}")


def trial_name(space: Space, parameters: Mapping[str, CaseValue], seed: int) -> str:
    """Readable, and a file's name; the same for the same values."""
    labels, case = space.labels(), space.case_of(parameters)
    varied = [f"{label}-{_shown(parameters[key])}" for key, label in labels.items() if key in parameters]
    words = "_".join([*([case] if case else []), *varied, f"seed-{seed}"])
    name = re.sub(r"[^A-Za-z0-9._-]", "-", words).lstrip("._-")
    if name == words and len(name) <= LARGEST_NAME:
        return name
    # What was cut off or replaced may be what tells it from another.
    return f"{name[: LARGEST_NAME - 9]}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def rounded(value: Any) -> Any:
    """A drawn value as it is used; others are left alone."""
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


def share_out(
    config: RunConfig,
    concurrent: int | None,
    cpus: float,
    gpus: float,
    trials: int,
    *,
    grows: bool = False,
    together: bool = False,
) -> tuple[int, Plan | None, float]:
    """How many trials run at once, and what each reserves: its actors, or the GPU share of its only process.

    A pure function of what the cluster has. Without a wish there are as many as have a CPU for each of their
    processes, and, where there are GPUs, as many as there are GPUs; of trials that are compared all the time
    (`together`) as many as fit, and the others take turns with them.

    Raises:
        UserError: more are wished for than the cluster has room for; or not even one fits, and the cluster is
            none that grows; or some of those that are compared are to wait for the others' end.
    """
    if together and concurrent is not None and concurrent < trials:
        raise UserError(
            f"--concurrent {concurrent}: the {trials} members of a population are compared all the time, so "
            f"none waits for the others' end; leave it out"
        )
    engine, most = config.engine, _most(config, cpus, gpus)
    if most < 1 and not grows:
        raise UserError(
            f"{_too_much(config, gpus)}: no trial fits ({_needs(config)}); there are {cpus:g} CPUs and "
            f"{gpus:g} GPUs, and a private cluster cannot grow, so this is not waited for"
        )
    most = max(1, most)
    if concurrent is not None and concurrent > most:
        raise UserError(
            f"--concurrent {concurrent}: the cluster has {cpus:g} CPUs and {gpus:g} GPUs, at most {most} "
            f"trials at once fit ({_needs(config)})"
        )
    count = min(concurrent or (most if together else _usual(config, cpus, gpus, most)), trials)
    if engine.mode == "local":
        return count, None, int(100 * min(1.0, gpus / count)) / 100
    return count, plan_actors(config.num_parties, engine, max(cpus / count, MINIMUM), gpus / count), 0.0


MINIMUM = 0.5
"""CPUs with which a trial on Ray still gets on: its processes take turns."""


def _most(config: RunConfig, cpus: float, gpus: float) -> int:
    engine = config.engine
    if engine.mode == "local":
        return int(cpus // engine.threads)
    most, wanted = cpus / MINIMUM, _gpus(config)
    return int(min(most, gpus / wanted) if wanted > 0 else most)


def _gpus(config: RunConfig) -> float:
    """That a trial on Ray names."""
    engine = config.engine
    return (engine.student_gpus or 0.0) + (engine.gpus_per_party or 0.0) * config.num_parties


def _usual(config: RunConfig, cpus: float, gpus: float, most: int) -> int:
    if gpus > 0:
        return min(most, max(1, int(gpus)))
    if config.engine.mode == "local":
        return most
    actors = 1 + (config.engine.party_actors or config.num_parties)
    return min(most, max(1, int(cpus // actors)))


def _too_much(config: RunConfig, gpus: float) -> str:
    """The key because of which no trial fits."""
    engine = config.engine
    if engine.mode == "local":
        return "engine.threads"
    return "engine.student_gpus" if (engine.student_gpus or 0.0) > gpus else "engine.gpus_per_party"


def _needs(config: RunConfig) -> str:
    if config.engine.mode == "local":
        return f"each needs {config.engine.threads} CPUs, engine.threads"
    named = _gpus(config)
    return f"each needs at least {MINIMUM:g} CPUs and the {named:g} GPUs that engine.* names"


def _shown(value: CaseValue) -> str:
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def to_json(study: Study) -> dict[str, Any]:
    """What has to be known to go on with it, for sweep.json; the configuration lies in a file of its own."""
    return {
        "space": study.space_name,
        "definition": json.loads(study.space.model_dump_json(exclude_defaults=True)),
        "seeds": study.seeds,
        "search": study.search,
        "scheduler": study.scheduler,
        "samples": study.samples,
        "concurrent": study.concurrent,
        "mlflow_run_id": study.parent,
    }
