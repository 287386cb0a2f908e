"""From a space to the points that are run: a grid, random draws, or what Optuna suggests."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from orchestrator.errors import UserError
from orchestrator.sweep.space import Parameter, Parameters, Space, is_whole
from orchestrator.sweep.study import Study, rounded, trial_name

POINT = "point"
NAMES = "names"


class Point(NamedTuple):
    """What a trial runs."""

    name: str
    parameters: Parameters
    seed: int


def known_points(study: Study) -> list[Point]:
    """What is run, seeds of a point one after the other; what Optuna will suggest is not known before.

    Random draws depend on nothing but the first seed; what is drawn twice is run once, but for a population.
    """
    if study.search == "optuna":
        return []
    points = list(study.space.points())
    if study.search == "random":
        points = drawn(study.space, study.samples, study.seeds[0])
    if study.scheduler == "pbt":
        return [Point(_member(index), values, study.seeds[0]) for index, values in enumerate(points)]
    found = [point_of(study, values, seed) for values, seed in itertools.product(points, study.seeds)]
    return list({point.name: point for point in found}.values())


def in_words(study: Study, points: Sequence[Point]) -> str:
    """How many trials there are, and of how many points."""
    seeds = f"{len(study.seeds)} seed{'s' if len(study.seeds) > 1 else ''}"
    if study.search == "optuna":
        return f"{study.samples} points x {seeds}"
    if study.scheduler == "pbt":
        return f"{len(points)} members"
    different = len({json.dumps(point.parameters, sort_keys=True) for point in points})
    if different * len(study.seeds) != len(points):  # Of several orders.
        return f"{len(points)} trials"
    drawn = f" (of {study.samples} draws)" if study.search == "random" and different < study.samples else ""
    return f"{different} points{drawn} x {seeds}"


def drawn(space: Space, samples: int, seed: int) -> list[Parameters]:
    """Independent draws from the ranges, rounded."""
    state = np.random.RandomState(seed)
    domains = {key: domain(one) for key, one in space.parameters.items()}
    return [
        {key: rounded(_plain(one.sample(random_state=state))) for key, one in domains.items()}
        for _ in range(samples)
    ]


def domain(parameter: Parameter) -> Any:
    """A parameter as Ray Tune draws it."""
    from ray import tune

    if parameter.range is None:
        return tune.choice(list(parameter.grid))
    low, high = parameter.range
    if is_whole(parameter):
        draw = tune.lograndint if parameter.scale == "log" else tune.randint
        return draw(int(low), int(high) + 1)
    return tune.loguniform(low, high) if parameter.scale == "log" else tune.uniform(low, high)


def param_space(points: Sequence[Point]) -> dict[str, Any]:
    """What Ray Tune is told to run, of points that are known."""
    from ray import tune

    return {POINT: tune.grid_search([one._asdict() for one in points]), NAMES: [one.name for one in points]}


def drawn_space(study: Study) -> dict[str, Any]:
    """What Optuna draws from."""
    return {key: domain(one) for key, one in study.space.parameters.items()}


def of_config(study: Study, config: Mapping[str, Any], trial_id: str) -> Point:
    """What Ray Tune gives a trial to run; its number ends the id of each trial of a grid."""
    if POINT in config:
        _, drawn_values, seed = (config[POINT][field] for field in Point._fields)
        # A member of a population gets all of another one's configuration, but stays who it is.
        name = config[NAMES][int(trial_id.rpartition("_")[2])]
        ranges = study.space.parameters
        within = {
            key: _within(ranges[key], value) if key in ranges else value
            for key, value in drawn_values.items()
        }
        return Point(name, within, seed)
    from ray.tune.search.repeater import TRIAL_INDEX

    values = {key: rounded(_plain(config[key])) for key in study.space.parameters}
    return point_of(study, values, study.seeds[int(config.get(TRIAL_INDEX, 0))])


def searcher(study: Study, done: Sequence[tuple[Parameters, float]]) -> Any:
    """Optuna's, that knows what the points in `done` came to (the mean over seeds); None for other searches.

    Raises:
        UserError: it is not installed.
    """
    if study.search != "optuna":
        return None
    try:
        import optuna
        from ray.tune.search import ConcurrencyLimiter, Repeater
        from ray.tune.search.optuna import OptunaSearch
    except ImportError as error:
        raise UserError("--search optuna: needs Optuna: pip install 'dfmf[optuna]'") from error
    known: dict[str, Any] = {}
    if done:
        known = {
            "points_to_evaluate": [values for values, _ in done],
            "evaluated_rewards": [value for _, value in done],
        }
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # With the same seed a sweep that goes on would draw its first points once more.
    sampler = optuna.samplers.TPESampler(seed=study.seeds[0] + len(done))
    search = OptunaSearch(sampler=sampler, **known)
    return ConcurrencyLimiter(Repeater(search, repeat=len(study.seeds)), max_concurrent=study.concurrent)


def _within(parameter: Parameter, value: Any) -> Any:
    """A value that a population has changed, in the range and of the kind that the space says."""
    if parameter.range is None or isinstance(value, (bool, str)):
        return value
    if is_whole(parameter):
        return int(min(max(round(value), parameter.range[0]), parameter.range[1]))
    return (
        value
        if value in parameter.grid
        else rounded(float(min(max(value, parameter.range[0]), parameter.range[1])))
    )


def point_of(study: Study, values: Parameters, seed: int) -> Point:
    """The trial of these values with a seed."""
    return Point(trial_name(study.space, values, seed), values, seed)


def _member(index: int) -> str:
    return f"member-{index}"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
