"""What the command line says of a sweep, and everything that can be wrong with it."""

import dataclasses
from pathlib import Path
from typing import cast, get_args

from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.loading import Tree
from orchestrator.sweep.paths import absolute
from orchestrator.sweep.space import Space
from orchestrator.sweep.study import EPOCHS, Scheduler, Search

CACHE = "cache"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the command line says of a sweep."""

    space: str
    search: Search = "grid"
    scheduler: Scheduler = "none"
    samples: int | None = None
    concurrent: int | None = None
    seeds: int | None = None


def wishes(
    space: str, search: str, scheduler: str, samples: int | None, concurrent: int | None, seeds: int | None
) -> Wishes:
    """What was asked for, as words.

    Raises:
        UserError: a search or a scheduler that there is not.
    """
    for option, value, known in (
        ("search", search, get_args(Search)),
        ("scheduler", scheduler, get_args(Scheduler)),
    ):
        if value not in known:
            raise UserError(f"--{option} {value}: must be one of {', '.join(known)}")
    return Wishes(
        space=space,
        search=cast(Search, search),
        scheduler=cast(Scheduler, scheduler),
        samples=samples,
        concurrent=concurrent,
        seeds=seeds,
    )


def prepared(config: RunConfig) -> Tree:
    """The configuration that trials start from: with absolute paths, the sweep's cache and MLflow's store."""
    config = absolute(config)
    cache = config.checkpoint.cache or str(Path(config.output).absolute() / CACHE)
    checkpoint = config.checkpoint.model_copy(update={"cache": cache})
    tree: Tree = config.model_copy(update={"checkpoint": checkpoint, "name": None}).model_dump(mode="json")
    return tree


def check_wishes(wishes: Wishes, config: RunConfig) -> None:
    """What does not fit together.

    Raises:
        UserError: what, and what is allowed.
    """
    if (wishes.samples is None) != (wishes.search == "grid"):
        say = (
            "needs --samples N"
            if wishes.samples is None
            else "a grid runs all its points; use --search random"
        )
        raise UserError(f"--search {wishes.search}: {say}")
    if wishes.scheduler != "none" and config.data is None:
        raise UserError(
            f"--scheduler {wishes.scheduler}: compares accuracies, and there is no 'data' to test on"
        )
    if wishes.scheduler == "pbt" and (wishes.seeds or 1) > 1:
        raise UserError("--scheduler pbt: --seeds must be 1; members go on from each other's state")
    if wishes.search == "optuna" and wishes.scheduler != "none":
        raise UserError(
            f"--scheduler {wishes.scheduler}: not with --search optuna, which learns from whole trials"
        )
    if config.engine.student_workers > 1:
        raise UserError("engine.student_workers: must be 1 in a sweep, whose trials run side by side")
    if config.checkpoint.to is not None:
        raise UserError("checkpoint.to: must be empty in a sweep; each trial keeps its own in its folder")


def check_cases(wishes: Wishes, space: Space) -> None:
    """Cases are neither drawn nor changed, and schedulers compare trials after the same epoch.

    Raises:
        UserError: the space has other needs.
    """
    varied = {*space.parameters, *(key for values in space.cases.values() for key in values)}
    if wishes.scheduler != "none" and EPOCHS in varied:
        raise UserError(
            f"--scheduler {wishes.scheduler}: compares trials after the same epoch, so {EPOCHS} must not be "
            f"varied (space {wishes.space})"
        )
    if space.cases and (wishes.search != "grid" or wishes.scheduler == "pbt"):
        raise UserError(
            f"space {wishes.space}: has cases, which are run as they are: --search must be grid, and "
            "--scheduler not pbt"
        )
