"""A comparison: groups of comparable runs, the one that the others are held against, and what is measured."""

import dataclasses
from collections.abc import Sequence

from orchestrator.comparison.comparable import check_comparable, made_otherwise
from orchestrator.comparison.groups import Group, make_groups, same_settings
from orchestrator.comparison.places import with_common_paths
from orchestrator.comparison.records import Run, Sweep
from orchestrator.comparison.statistics import Difference, Spread, paired_difference, spread
from orchestrator.errors import UserError, user_error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What the table says of a group."""

    group: Group
    score: Spread | None
    """None if no run of the group is finished."""
    difference: Difference | None
    """To the reference; None for the reference itself, and with fewer than two common seeds."""
    gap_closed: Spread | None
    best_teacher: Spread | None
    ensemble: Spread | None
    seconds: Spread | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that tables, figures and pages show."""

    runs: list[Run]
    groups: list[Group]
    keys: list[str]
    """Keys of the configuration that differ between groups."""
    reference: Group
    measure: str
    """'accuracy' or 'agreement', both in percent."""
    notes: list[str]
    """What a reader must know."""

    def score(self, run: Run) -> float:
        """What is compared of a finished run, in percent."""
        student = run.results.student
        value = getattr(student, self.measure)
        assert isinstance(value, float)
        return value

    @property
    def counted(self) -> list[Run]:
        """The finished runs that the statistics are over."""
        return [run for group in self.groups for run in group.runs]

    @property
    def left_out(self) -> list[Run]:
        """Those that are not finished."""
        return [run for run in self.runs if not run.finished]

    @property
    def sweeps(self) -> list[Sweep]:
        """Those that the runs belong to."""
        found: list[Sweep] = []
        for run in self.runs:
            if run.sweep is not None and run.sweep not in found:
                found.append(run.sweep)
        return found

    @property
    def rows(self) -> list[Row]:
        """The table, a row a group."""
        return [self._row(group) for group in self.groups]

    def _row(self, group: Group) -> Row:
        scores = {run.seed: self.score(run) for run in group.runs}
        theirs = {run.seed: self.score(run) for run in self.reference.runs}
        results = [run.results for run in group.runs]
        closed = [one.gap_closed for one in results if one.gap_closed is not None]
        teachers = [[teacher.accuracy for teacher in one.teachers] for one in results]
        best = [max(one for one in all_of if one is not None) for all_of in teachers if None not in all_of]
        ensemble = [one.ensemble.accuracy for one in results if one.ensemble.accuracy is not None]
        return Row(
            group=group,
            score=spread(list(scores.values())),
            difference=None if group is self.reference else paired_difference(scores, theirs),
            gap_closed=spread(closed),
            best_teacher=spread(best),
            ensemble=spread(ensemble),
            seconds=spread([one.main_phase_seconds for one in results]),
        )


def compare(runs: Sequence[Run], reference: str | None = None) -> Comparison:
    """Group the runs and choose the reference: the group of that label; by default, for a sweep, the one with
    the sweep's own configuration, else the first.

    Raises:
        UserError: no run is finished, they cannot be compared, or there is no such group.
    """
    runs = with_common_paths(runs)
    finished = [run for run in runs if run.finished]
    if not finished:
        states = ", ".join(f"{run.name} is {run.status}" for run in runs[:5]) or "there are no runs"
        raise user_error(f"nothing to compare: no run is finished ({states})")
    check_comparable(finished)
    measure, notes = _measure(finished)
    grouping = make_groups(runs)
    notes += [
        f"{run.name} ({run.origin}) repeats the configuration and the seed of {first.name} ({first.origin}) "
        "and does not count"
        for run, first in grouping.repeated
    ]
    notes += made_otherwise([run for group in grouping.groups for run in group.runs])
    if len(finished) < len(runs):
        count = f"{len(runs) - len(finished)} of {len(runs)}"
        notes.append(f"not finished: {count} runs; they are listed, and left out of all statistics")
    return Comparison(
        runs=list(runs),
        groups=grouping.groups,
        keys=grouping.keys,
        reference=_reference(grouping.groups, reference, runs),
        measure=measure,
        notes=notes,
    )


def _measure(finished: Sequence[Run]) -> tuple[str, list[str]]:
    students = [run.results.student for run in finished]
    if all(one is not None and one.accuracy is not None for one in students):
        return "accuracy", []
    if all(one is not None and one.agreement is not None for one in students):
        where = sorted({one.agreement_on for one in students if one is not None})
        return "agreement", [
            "without test images no accuracy is known; compared is the agreement of the student with the "
            f"teachers' ensemble on {' and '.join(where)} of each run"
        ]
    raise UserError("nothing to compare: there are runs with neither a test accuracy nor an agreement")


def _reference(groups: Sequence[Group], label: str | None, runs: Sequence[Run]) -> Group:
    possible = [group for group in groups if group.runs]
    if label is not None:
        for group in possible:
            if group.label == label:
                return group
        known = "; ".join(group.label for group in possible)
        raise user_error(f"--reference: {label!r} is no group with a finished run (those are: {known})")
    bases = [run.sweep.base for run in runs if run.sweep is not None and run.sweep.base is not None]
    for base in bases[:1]:
        for group in possible:
            if same_settings(group.runs[0].config, base):
                return group
    return possible[0]
