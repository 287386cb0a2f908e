"""A part of a table as a sweep: what it has, what of it is to be run, and what is finished."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from orchestrator.config import RunConfig
from orchestrator.reproducing.layout import Line, Part
from orchestrator.reproducing.order import Order
from orchestrator.reproducing.results import Filled, case_name, filled
from orchestrator.run_folder import finished_summary
from orchestrator.sweep.space import Parameters, Space
from orchestrator.sweep.study import TRIALS, trial_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartStudy:
    """A study of its own: one data set, one number of parties."""

    part: Part
    config: RunConfig
    rows: Sequence[Line]
    columns: Sequence[Line]
    cells: Mapping[str, Parameters]
    """All that the table has, by their cases' names."""
    wanted: Sequence[str]
    """Those that are to be run; none: nothing of this part is."""
    number_of_seeds: int

    @property
    def folder(self) -> Path:
        """The sweep's."""
        assert self.config.name is not None
        return Path(self.config.output) / self.config.name

    @property
    def seeds(self) -> list[int]:
        """Of each fusion."""
        return self._space(self.cells).seed_list(self.config.seed)

    @property
    def space(self) -> Space:
        """What is to be run."""
        return self._space(self.wanted)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be run."""
        return all(self._finished(self.wanted))

    @property
    def lacking(self) -> int:
        """How many runs that are to be run are not finished."""
        return self._finished(self.wanted).count(False)

    @property
    def shown_rows(self) -> list[Line]:
        """Those of which something is to be run, and those in which another order finished something."""
        return [row for row in self.rows if self._is_shown(case_name(row, one) for one in self.columns)]

    @property
    def shown_columns(self) -> list[Line]:
        """As `shown_rows`."""
        return [one for one in self.columns if self._is_shown(case_name(row, one) for row in self.rows)]

    def results(self, order: Order) -> Filled:
        """Of what `order` asks for; other columns are empty."""
        rows = order.some_rows(self.rows)
        names = [case_name(row, one) for row in rows for one in order.some_columns(self.columns)]
        space = self._space([name for name in names if name in self.cells])
        return filled(self.part, self.folder, space, rows, self.columns, self.seeds)

    def _is_shown(self, names: Iterable[str]) -> bool:
        some = [name for name in names if name in self.cells]
        return any(name in self.wanted for name in some) or any(self._finished(some))

    def _space(self, names: Iterable[str]) -> Space:
        return Space(cases={name: self.cells[name] for name in names}, seeds=self.number_of_seeds)

    def _finished(self, names: Iterable[str]) -> list[bool]:
        """Of each run."""
        whole, trials = self._space(self.cells), self.folder / TRIALS
        return [
            finished_summary(trials / trial_name(whole, self.cells[name], seed)) is not None
            for name in names
            for seed in self.seeds
        ]
