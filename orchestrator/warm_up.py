"""The warm-up on Ray, after the parties have begun."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from actors.feed import Members
from actors.interval import Interval
from actors.party import PartyState
from actors.repairs import LOST, describe
from fusion.epoch import EpochReport, party_metrics
from fusion.health import Diverged, check_iteration
from orchestrator.conversion import to_party_snapshots
from orchestrator.crew import Crew
from orchestrator.engines import WARMUP_EPOCH, Job, Observer
from orchestrator.snapshot import PartySnapshot, Snapshot
from orchestrator.stopping import GRACE_SECONDS

AHEAD = 2
"""Epochs in flight at a group, so that none waits for the driver."""


class WarmUp:
    """Lines 3-10 of Algorithm 1, or what is left of them; all groups at once, one call an epoch."""

    def __init__(self, crew: Crew, job: Job, observer: Observer, start: Snapshot) -> None:
        self._crew, self._job, self._observer = crew, job, observer
        self._epoch = job.settings.schedule.iterations_per_epoch
        self._steps = job.settings.schedule.warmup_steps
        self._snapshots: dict[int, PartySnapshot] = {}
        self._metrics: dict[int, dict[str, float]] = {}
        self._intervals: dict[Members, Interval] = {one: job.keeper.interval() for one in crew.groups}
        self._calls: dict[Members, list[tuple[int, Any, Any]]] = {}
        self._done: dict[Members, int] = {}
        for members in crew.groups:
            self._start_from(members, start)

    def run(self, again: bool) -> None:
        """Until all are warm; then what there is to say of it, unless this is done `again` for a student that
        was lost.

        Raises:
            KeyboardInterrupt: it was to stop; what there is of it has been kept.
        """
        try:
            self._run()
            while not again and not self._report():
                self._run()
        except KeyboardInterrupt:
            self._halt()
            raise

    def _run(self) -> None:
        while heads := {members: calls[0] for members, calls in self._calls.items() if calls}:
            ready = self._crew.first([call for _, call, _ in heads.values()])
            for members, (done, call, snapshot) in heads.items():
                if call in ready:
                    self._take(members, done, call, snapshot)
            warm = sum(done * len(members) for members, done in self._done.items())
            self._observer.advanced("warm-up", warm, self._steps * len(self._job.teachers))

    def _start_from(self, members: Members, snapshot: Snapshot) -> None:
        """A group has begun as `snapshot` says."""
        known = {index: snapshot.parties[index] for index in members if index in snapshot.parties}
        self._snapshots |= known
        self._metrics |= {index: dict(one.metrics) for index, one in known.items()}
        self._done[members] = min(known[index].warmup_steps if index in known else 0 for index in members)
        self._calls[members] = []
        self._ask(members)

    def _ask(self, members: Members) -> None:
        """Have the next epochs in flight."""
        group, session, calls = self._crew.groups[members], self._crew.sessions[members], self._calls[members]
        asked = calls[-1][0] if calls else self._done[members]
        while len(calls) < AHEAD and asked < self._steps:
            asked += self._epoch - asked % self._epoch  # A run that was stopped may begin within one.
            call = group.warm_up.remote(session, asked)
            due = self._intervals[members].due(asked, self._epoch) or asked == self._steps
            calls.append((asked, call, group.snapshot.remote(session) if due else None))

    def _take(self, members: Members, done: int, call: Any, snapshot: Any) -> None:
        """An epoch of a group is over, or the group is lost."""
        try:
            metrics = self._crew.wait(call)
            states = self._crew.wait(snapshot) if snapshot is not None else None
        except LOST as error:
            self._restore(members, error)
            return
        names = [self._job.names[index] for index in members]
        check_iteration(party_metrics(names, metrics), done - 1, self._job.limits)
        self._note(members, metrics)
        self._done[members] = done
        self._calls[members].pop(0)
        self._ask(members)
        if states is not None:
            self._keep(states)

    def _restore(self, members: Members, error: Exception) -> None:
        newest = self._job.keeper.newest()
        self._crew.restore(members, describe(error), newest)
        self._start_from(members, newest)

    def _keep(self, states: Mapping[int, PartyState]) -> None:
        self._snapshots |= to_party_snapshots(states, self._metrics)
        whole = Snapshot(parties=dict(self._snapshots), rewinds=self._job.settings.rewinds)
        self._job.keeper.keep(whole, self._job.names)

    def _halt(self) -> None:
        """Keep the parties as they are after the update in work, those of a group for which that is over
        soon; of others the last snapshot is what there is."""
        asked: dict[Any, Members] = {}
        states: dict[int, PartyState] = {}
        with contextlib.suppress(RayError, Diverged):
            for members, group in self._crew.groups.items():
                group.halt.remote()
                asked[group.snapshot.remote(self._crew.sessions[members])] = members
            for snapshot in ray.wait(list(asked), num_returns=len(asked), timeout=GRACE_SECONDS)[0]:
                with contextlib.suppress(RayError):
                    members, state = asked[snapshot], ray.get(snapshot)
                    for _, call, _ in self._calls[members]:  # All of them came before.
                        self._note(members, ray.get(call))
                    states |= state
            if states:
                self._keep(states)

    def _note(self, members: Members, metrics: Sequence[dict[str, float]]) -> None:
        self._metrics |= {index: one for index, one in zip(members, metrics, strict=True) if one}

    def _report(self) -> bool:
        """Tell of it, and whether that was done: a group that was lost meanwhile has to catch up first."""
        names, groups = self._job.names, self._crew.groups
        calls = {
            members: group.sample.remote(self._crew.sessions[members]) for members, group in groups.items()
        }
        samples: dict[str, Any] = {}
        for members, call in calls.items():
            try:
                found = self._crew.wait(call)
            except LOST as error:
                self._restore(members, error)
                return False
            samples |= {names[index]: one for index, one in zip(members, found, strict=True)}
        metrics = [self._metrics.get(index, {}) for index in range(len(names))]
        self._observer.epoch(
            EpochReport(
                epoch=WARMUP_EPOCH,
                metrics=party_metrics(names, metrics),
                accuracy=None,
                samples=samples,
            )
        )
        return True
