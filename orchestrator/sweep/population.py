"""Population based training: members that do poorly go on from the state of better ones, with other values
(Jaderberg et al., 2017). Ray Tune decides who; here is what a member takes over and gives."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.checkpoint_files import from_files, read_manifest
from orchestrator.checkpoints import Checkpoints
from orchestrator.config import RunConfig
from orchestrator.journal import JOURNAL
from orchestrator.keeper import ignore
from orchestrator.loading import dump_config, load_config
from orchestrator.run_folder import write_text
from orchestrator.storage import LocalStorage
from orchestrator.sweep.points import domain
from orchestrator.sweep.space import Parameters
from orchestrator.sweep.study import Study
from orchestrator.tracking import flat

KEEP = 3
"""Checkpoints of a member, so that the newest stays while it is copied."""
RUN = "run"


def members_config(config: RunConfig) -> RunConfig:
    """A member's configuration: with a checkpoint after every epoch."""
    every = config.schedule.iterations_per_epoch
    changes = {"every_iterations": every, "every_minutes": None, "keep": KEEP}
    return config.model_copy(update={"checkpoint": config.checkpoint.model_copy(update=changes)})


def interval(study: Study) -> int:
    """Epochs between two comparisons."""
    return max(1, int(study.base["schedule"]["epochs"]) // 5)


def scheduler(study: Study) -> Any:
    """Ray Tune's, with the space's ranges."""
    from ray.tune.schedulers import PopulationBasedTraining

    ways = {key: domain(one) if one.range else list(one.grid) for key, one in study.space.parameters.items()}
    return PopulationBasedTraining(
        time_attr="epoch",
        perturbation_interval=interval(study),
        hyperparam_mutations={"point": {"parameters": ways}},
        require_attrs=False,
        log_config=False,
    )


@contextlib.contextmanager
def given(study: Study, epoch: int, folder: Path) -> Iterator[Any]:
    """What a member in `folder` hands to Ray Tune after `epoch`: its newest checkpoint and its journal, or
    None."""
    storage = LocalStorage(folder / "checkpoints")
    names = storage.folders()
    if study.scheduler != "pbt" or epoch % interval(study) or not names:
        yield None
        return
    with tempfile.TemporaryDirectory() as place:
        target = Path(place)
        shutil.copytree(folder / "checkpoints" / names[-1], target / RUN / names[-1])
        shutil.copy(folder / JOURNAL, target)
        yield tune.Checkpoint.from_directory(place)


def values_of(study: Study, folder: Path) -> Parameters:
    """Those that the member in `folder` was last at work with."""
    config = flat(load_config(str(folder / "config.yaml")).model_dump(mode="json"))
    return {key: config[key] for key in study.space.parameters}


def take_over(config: RunConfig, parameters: Parameters, folder: Path) -> None:
    """Have the member in `folder` be as the one whose state Ray Tune gives it, but with `parameters`."""
    state = tune.get_checkpoint()
    assert state is not None
    with state.as_directory() as place:
        storage = LocalStorage(Path(place) / RUN)
        name = storage.folders()[-1]
        manifest = read_manifest(storage, name)
        snapshot = from_files(storage, name, manifest)
        identity: Mapping[str, Any] = {**manifest["identity"], **parameters}
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        own = LocalStorage(folder / "checkpoints")
        Checkpoints(own, KEEP, json.loads(json.dumps(identity)), ignore).save(snapshot)
        shutil.copy(Path(place) / JOURNAL, folder / JOURNAL)
        write_text(folder / "config.yaml", dump_config(config))
