"""What several runs compute alike is computed once: pretrained teachers, and parties after the warm-up.

Each lies in a folder that is called after a hash of everything that decides it (`checkpoint.cache`). Whoever
comes first computes it; who comes meanwhile waits.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import torch

from fusion.teachers import Teacher
from orchestrator.checkpoints import Checkpoints
from orchestrator.config import RunConfig
from orchestrator.engines import Lesson
from orchestrator.errors import UserError
from orchestrator.lock import InUse, locked_in_turn
from orchestrator.recording import teacher_hash
from orchestrator.snapshot import Snapshot
from orchestrator.storage import LocalStorage

DECIDES_WARM_UP = ("seed", "generator", "compute")
"""Keys of the configuration, besides some of `optimisation`, `schedule` and `method` (Algorithm 1, lines
1-10)."""


def pretraining_key(config: RunConfig, lessons: Sequence[Lesson], hardware: str) -> dict[str, Any]:
    """What decides the weights of classifiers that are pretrained on `hardware`."""
    assert config.pretrain is not None
    return {
        "lessons": [
            {
                "name": one.name,
                "network": one.network,
                "spec": dataclasses.asdict(one.spec),
                "images": _digest(one.train.images, one.train.labels),
            }
            for one in lessons
        ],
        "recipe": dataclasses.asdict(config.pretrain.recipe),
        "seed": config.seed,
        **_machinery(config, hardware),
    }


def warm_up_key(config: RunConfig, teachers: Sequence[Teacher], hardware: str) -> dict[str, Any]:
    """What decides the parties after the warm-up on `hardware`."""
    tree = json.loads(config.model_dump_json())
    schedule, optimisation = tree["schedule"], tree["optimisation"]
    return {
        "teachers": [
            {
                "network": one.network,
                "spec": dataclasses.asdict(one.spec),
                "sha256": teacher_hash(one),
            }
            for one in teachers
        ],
        **{key: tree[key] for key in DECIDES_WARM_UP},
        **_assistants(config),
        "optimisation": {key: optimisation[key] for key in ("generator_lr", "generator_beta1")},
        "schedule": {key: schedule[key] for key in ("warmup_epochs", "iterations_per_epoch", "batch_size")},
        "warmup_loss": config.method.warmup_loss,
        **{key: tree["method"][key] for key in config.method.warmup_settings},
        **_machinery(config, hardware),
    }


def _assistants(config: RunConfig) -> dict[str, Any]:
    """They are part of a party's state, as they were initialised, where the method has any."""
    if config.method.critic != "assistant":
        return {}
    student = config.student if config.assistant == "student" else None
    return {"assistant": config.assistant, "student": student}


def check_cache(cache: str | None) -> None:
    """What can be known of it before anything is computed.

    Raises:
        UserError: it cannot be written to.
    """
    if cache is None:
        return
    try:
        Path(cache).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
    except OSError as error:
        raise UserError(f"checkpoint.cache: cannot write to {cache}: {error.strerror}") from error


@contextlib.contextmanager
def claimed(
    cache: str | None, kind: str, key: Mapping[str, Any], say: Callable[[str], None]
) -> Iterator[Path | None]:
    """Within the block nobody else computes what `key` decides; its folder, or None without a cache.

    Raises:
        UserError: the cache cannot be written to.
    """
    if cache is None:
        yield None
        return
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    folder = Path(cache).absolute() / kind / digest[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"checkpoint.cache: cannot write to {cache}: {error.strerror}") from error

    def waiting(error: InUse) -> None:
        say(f"waiting for the {kind} that another run is at work on ({error})")

    with locked_in_turn(folder, waiting):
        yield folder


class WarmUps:
    """The parties after the warm-up, in a folder that is claimed until they are there."""

    def __init__(
        self,
        folder: Path,
        key: Mapping[str, Any],
        num_parties: int,
        steps: int,
        release: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        """`key` decides them; each of the `num_parties` has had `steps` updates."""
        self._checkpoints = Checkpoints(LocalStorage(folder), 1, key, say)
        self._num_parties, self._steps = num_parties, steps
        self._say = say
        self.release = release
        """Let others compute them."""

    def load(self) -> Snapshot | None:
        """The beginning of a main phase, if somebody has been there."""
        snapshot = self._checkpoints.load()
        if not self._are_warm(snapshot):
            return None
        self._say("the parties have been warmed up by another run (checkpoint.cache)")
        return snapshot

    def heard(self, snapshot: Snapshot) -> None:
        """Keep it for others, if they could use it.

        Raises:
            OSError: it could not be written.
        """
        if self._are_warm(snapshot):
            self._checkpoints.save(snapshot)
            self.release()

    def _are_warm(self, snapshot: Snapshot) -> bool:
        steps = [party.warmup_steps for party in snapshot.parties.values()]
        alone = snapshot.student is None and snapshot.rewinds == 0
        return alone and len(steps) == self._num_parties and min(steps) == self._steps


@contextlib.contextmanager
def shared_warm_up(
    config: RunConfig, teachers: Sequence[Teacher], hardware: str, say: Callable[[str], None]
) -> Iterator[WarmUps | None]:
    """The warm-up that other runs on such `hardware` have in common with this one; None without a cache."""
    steps, cache = config.schedule.warmup_steps, config.checkpoint.cache
    if cache is None or steps == 0:
        yield None
        return
    key = json.loads(json.dumps(warm_up_key(config, teachers, hardware)))  # As it will be read back.
    with contextlib.ExitStack() as claim:
        folder = claim.enter_context(claimed(cache, "warm-up", key, say))
        assert folder is not None
        yield WarmUps(folder, key, len(teachers), steps, claim.close, say)


def _machinery(config: RunConfig, hardware: str) -> dict[str, Any]:
    """What computes: other code, another PyTorch or another device may give other bits."""
    return {
        "threads": config.engine.threads,
        "torch": metadata.version("torch"),
        "device": hardware,
        "code": _code(),
    }


@functools.cache
def _code() -> str:
    """The hash of the method's source."""
    digest = hashlib.sha256()
    for _, content in sorted(_sources(resources.files("fusion"))):
        digest.update(content)
    return digest.hexdigest()


def _sources(folder: Any) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from ((f"{entry.name}/{name}", content) for name, content in _sources(entry))
        elif entry.name.endswith(".py"):
            yield entry.name, entry.read_bytes()


def _digest(*tensors: torch.Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
