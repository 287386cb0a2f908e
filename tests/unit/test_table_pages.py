"""What a written table says of runs that are still to do."""

from orchestrator.comparison.statistics import spread
from orchestrator.reproducing.results import Cell, Filled
from orchestrator.reproducing.scales import base_of
from orchestrator.reproducing.tables import parts_of
from orchestrator.reproducing.writing import markdown


def cell(row: str, accuracies: dict[int, list[float]], distances: tuple[float, ...] = ()) -> Cell:
    """A cell of the column r3."""
    found = [spread(values) for values in zip(*accuracies.values(), strict=True)]
    return Cell(
        row=row,
        column="r3",
        spreads=tuple(one for one in found if one is not None),
        by_seed=accuracies,
        published="",
        distance=spread(distances),
    )


def test_what_is_not_over_all_seeds_says_over_how_many_it_is() -> None:
    (part,) = parts_of("transfer-1", "digits")
    cells = [
        cell("gold_standard", {0: [98.0], 1: [99.0]}),
        cell("teachers", {0: [80.0, 70.0]}),
        cell("dfmf", {0: [90.0], 2: [91.0]}, (5.0, 6.0)),
        cell("dfq", {0: [90.0], 1: [90.0], 2: [90.0]}, (5.0, 5.0, 5.0)),
    ]
    filled = Filled(
        part=part,
        columns=["r3"],
        rows=[one.row for one in cells],
        cells={(one.row, one.column): one for one in cells},
        seconds=1.0,
        unfinished=1,
        hardware=[],
    )
    page = markdown("title", [filled], {part.name: base_of(part, ())}, [0, 1, 2], ["dfmf"])
    rows = [[text.strip() for text in line.split("|")[1:3]] for line in page.splitlines() if line[:1] == "|"]
    assert rows[2:] == [
        ["gold standard", "98.50 ± 0.71 (2)"],
        ["teachers", "80.00 / 70.00 (1)"],
        ["DFMF", "90.50 ± 0.71 (2)"],
        ["DFMF: feature distance", "5.50 ± 0.71 (2)"],
        ["DFQ", "90.00 ± 0.00"],
        ["DFQ: feature distance", "5.00 ± 0.00"],
    ]
