"""Keeps the newest snapshot of a run, written to storage beside the work."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from actors.interval import Interval
from fusion.health import Diverged, Limits, collapsed
from orchestrator.checkpoints import Checkpoints
from orchestrator.config import RunConfig
from orchestrator.snapshot import FRESH, Snapshot, Tensors


def ignore(line: str) -> None:
    """Nobody listens."""


class Keeper:
    """Without `checkpoints` the newest snapshot is kept in memory only, which is enough to mend a run."""

    def __init__(
        self,
        checkpoints: Checkpoints | None = None,
        *,
        iterations: int | None = None,
        seconds: float | None = None,
        say: Callable[[str], None] = ignore,
        heard: Callable[[Snapshot], None] | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`heard` is called with each snapshot, beside the work; it may raise OSError. `limits` say which
        snapshots nobody should go back to."""
        self.every = (iterations, seconds)
        """Iterations and seconds between two snapshots."""
        self._checkpoints = checkpoints
        self._say = say
        self._heard = heard
        self._limits = limits
        self._unwritten = FRESH
        """The newest, where there are no checkpoints or it could not be written."""
        self._writer = ThreadPoolExecutor(1, "checkpoints")
        self._writing: Future[None] | None = None

    def interval(self) -> Interval:
        """A clock for somebody who takes snapshots."""
        return Interval(*self.every)

    def keep(self, snapshot: Snapshot, names: Sequence[str]) -> None:
        """Have `snapshot` written; returns before it is, unless the one before is still being written.

        Raises:
            Diverged: it has values that are not finite, so nobody should go back to it.
        """
        wrong = _not_finite(snapshot, names)
        if wrong is not None:
            raise Diverged(
                wrong, float("nan"), snapshot.iterations - 1, f"after {snapshot.iterations} iterations"
            )
        if self._limits is not None and snapshot.records:
            # Whether the epoch is lost shows at its end; until then its beginning is what to go back to.
            term = collapsed(snapshot.records[-1], self._limits)
            if term is not None:
                self._say(
                    f"no checkpoint after {snapshot.iterations} iterations: {term} is that of a generator "
                    "which makes images of one class only"
                )
                return
        if self._checkpoints is None:
            self._unwritten = snapshot
            return
        self.flush()
        self._writing = self._writer.submit(self._write, self._checkpoints, snapshot)

    def newest(self) -> Snapshot:
        """What a run can go on from.

        Raises:
            UserError, OutOfReach: as `Checkpoints.load`.
        """
        self.flush()
        if self._checkpoints is None or self._unwritten is not FRESH:
            return self._unwritten
        return self._checkpoints.load()

    def flush(self) -> None:
        """Wait until everything is written."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, checkpoints: Checkpoints, snapshot: Snapshot) -> None:
        try:
            checkpoints.save(snapshot)
            self._unwritten = FRESH
            if self._heard is not None:
                self._heard(snapshot)
        except OSError as error:
            self._unwritten = snapshot
            reason = error.strerror or str(error)
            self._say(
                f"the checkpoint after {snapshot.iterations} iterations could not be written to "
                f"{checkpoints.where}: {reason}; the run goes on, and the one before is untouched"
            )


def keeper_for(
    config: RunConfig,
    checkpoints: Checkpoints,
    say: Callable[[str], None],
    heard: Callable[[Snapshot], None] | None,
) -> Keeper:
    """One that writes as often as the configuration says."""
    minutes = config.checkpoint.every_minutes
    return Keeper(
        checkpoints,
        iterations=config.checkpoint.every_iterations,
        seconds=None if minutes is None else 60 * minutes,
        say=say,
        heard=heard,
        limits=config.numerics.limits,
    )


def _not_finite(snapshot: Snapshot, names: Sequence[str]) -> str | None:
    """The first tensor with a value that is not finite."""
    owners: list[tuple[str, Tensors]] = [("student", snapshot.student or {})]  # As a party may be called too.
    owners += [(names[index], party.state) for index, party in snapshot.parties.items()]
    for owner, state in owners:
        for name, tensor in state.items():
            # The sum is quick, and finite unless some value is not, or nearly so.
            if (
                tensor.is_floating_point()
                and not tensor.sum().isfinite()
                and not torch.isfinite(tensor).all()
            ):
                return f"{owner}/{name}"
    return None
