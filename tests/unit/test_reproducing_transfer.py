"""The tables of arbitrary transfer sets: what they run, at which settings, and what is refused; without
Ray."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.errors import UserError
from orchestrator.reproducing import Order, published_transfer, reproduce
from orchestrator.reproducing.scales import base_of
from orchestrator.reproducing.tables import TABLES, parts_of
from orchestrator.reproducing.transfer_tables import TRANSFER_TABLES
from orchestrator.sweep.paths import absolute
from orchestrator.sweep.space import with_values
from orchestrator.sweep.wishes import prepared

PAPERS = "method.sources=[/images/svhn.parquet, /images/Tiny_ImageNet]"
SOURCES = {"svhn": "/images/svhn.parquet", "tiny-imagenet": "/images/Tiny_ImageNet", "noise": "noise"}


def cells(table: str, scale: Any, override: str = PAPERS) -> dict[tuple[str, str], Any]:
    """The configurations of a table's only part, by row and column."""
    (part,) = parts_of(table, scale)
    config = absolute(base_of(part, () if table == "transfer-1" else (override,)))
    found = {}
    for row in TABLES[table].rows(config):
        for column in TABLES[table].columns(config):
            values = TABLES[table].cell(row, column)
            if values is not None:
                found[row.key, column.key] = with_values(prepared(config), values, "cell")
    return found


@pytest.mark.parametrize("table", TRANSFER_TABLES)
@pytest.mark.parametrize("scale", ["digits", "fashion-mnist", "cifar", "paper"])
def test_every_cell_is_a_transfer_set_of_one_teacher(table: str, scale: Any) -> None:
    (part,) = parts_of(table, scale)
    found = cells(table, scale)
    for made in found.values():
        assert (made.num_parties, made.schedule.warmup_epochs) == (1, 0)
        assert (made.method.name, made.method.beta) == ("transfer_set", 0)
        unaugmented = table in ("transfer-3", "transfer-4")
        assert (made.augmentation.rotation == 0) == unaugmented
    assert set(found) & set(part.published)
    assert (part.distances is not None) == (table in ("transfer-1", "transfer-2", "transfer-5"))
    assert part.distances is None or part.distances.keys() == part.published.keys()


def test_sets_of_some_classes_have_one_size() -> None:
    for table, sources in (("transfer-1", ("data",)), ("transfer-2", tuple(SOURCES.values())[:2])):
        found = cells(table, "paper")
        row = "data" if table == "transfer-1" else "svhn-and-tiny-imagenet"
        assert [key for key, _ in found] == [row] * 5
        methods = [made.method for made in found.values()]
        assert [one.classes for one in methods] == [2, 4, 6, 8, 10]
        assert {(one.images, one.sources, one.balanced) for one in methods} == {(10_000, sources, True)}
        assert set(found) == set(parts_of(table, "paper")[0].published)


def test_each_of_two_sources_is_a_base_as_it_comes_and_filled_up() -> None:
    svhn, tiny = "/images/svhn.parquet", "/images/Tiny_ImageNet"
    made = {row: one.method for (row, _), one in cells("transfer-3", "paper").items()}
    assert {row: (one.sources, one.balanced) for row, one in made.items()} == {
        "svhn": ((svhn,), False),
        "svhn-and-tiny-imagenet": ((svhn, tiny), True),
        "tiny-imagenet": ((tiny,), False),
        "tiny-imagenet-and-svhn": ((tiny, svhn), True),
    }
    assert {one.images for one in made.values()} == {50_000}
    assert list(made) == [row for row, _ in published_transfer.TABLE_3]


def test_a_base_is_filled_up_from_nothing_from_noise_and_from_each_other_source() -> None:
    made = {key: one.method for key, one in cells("transfer-4", "paper").items()}
    for (row, column), method in made.items():
        added = () if column == "nothing" else (SOURCES[column],)
        assert (method.sources, method.balanced) == ((SOURCES[row], *added), column != "nothing")
    names = ["noise", "svhn", "tiny-imagenet"]
    assert [column for row, column in made if row == "svhn"] == ["nothing", "noise", "tiny-imagenet"]
    assert [column for row, column in made if row == "noise"] == ["nothing", *names]
    assert ("svhn", "tiny-imagenet") in published_transfer.TABLE_4


def test_noise_and_each_source_are_balanced_alone() -> None:
    mine = "method.sources=[/images/svhn.parquet, /images/photos]"
    made = {row: one.method for (row, _), one in cells("transfer-5", "paper", mine).items()}
    assert {row: one.sources for row, one in made.items()} == {
        "noise": ("noise",),
        "svhn": ("/images/svhn.parquet",),
        "photos": ("/images/photos",),
    }
    assert all(one.balanced for one in made.values())


def test_two_sources_of_the_papers_mixtures_are_filled_up_one_from_the_other_in_whatever_order() -> None:
    svhn, tiny, clevr, air = "/i/SVHN", "/i/tiny-imagenet.parquet", "/i/clevr", "/i/Mid-Air"
    sources = f"method.sources=[{tiny}, /i/photos, {air}, {svhn}, {clevr}]"
    made = {row: one.method for (row, _), one in cells("transfer-5", "paper", sources).items()}
    assert {row: one.sources for row, one in made.items()} == {
        "noise": ("noise",),
        "synthetic": (clevr, air),
        "natural": (svhn, tiny),
        "photos": ("/i/photos",),
    }
    assert all(one.balanced for one in made.values())
    assert {row for row, _ in published_transfer.TABLE_5} < set(made)
    found = cells("transfer-5", "paper", f"method.sources=[{clevr}, /i/natural]")
    assert [row for row, _ in found] == ["noise", "clevr", "natural"]  # The last is somebody's own mixture.


def test_at_scale_paper_it_is_alexnet_on_cifar10_and_the_rest_is_said() -> None:
    for table in TRANSFER_TABLES:
        (part,) = parts_of(table, "paper")
        config = base_of(part, ())
        assert config.data is not None
        assert config.pretrain is not None
        assert (config.data.source, config.pretrain.networks) == ("cifar10", ("alexnet",))
        assert config.student == "alexnet-half"
        assert "to the test images" in part.differs


def test_published_numbers_are_the_papers() -> None:
    """Tables 3 and 4 have four runs in common; distances fall as accuracy rises."""
    papers = published_transfer
    assert papers.TABLE_1["data", "8-classes"] == "58.94"
    assert papers.DISTANCES_1["data", "10-classes"] == "8.97"
    assert papers.TABLE_2["svhn-and-tiny-imagenet", "6-classes"] == "32.08"
    assert papers.TABLE_3["tiny-imagenet-and-svhn", "student"] == "70.58"
    assert papers.TABLE_3["svhn", "student"] == papers.TABLE_4["svhn", "nothing"] == "40.46"
    filled = papers.TABLE_3["svhn-and-tiny-imagenet", "student"]
    assert filled == papers.TABLE_4["svhn", "tiny-imagenet"] == "64.90"
    assert papers.TABLE_4["clevr", "mid-air"] == "47.18"
    assert papers.DISTANCES_5["natural", "student"] == "28.53"
    for numbers, distances in (
        (papers.TABLE_1, papers.DISTANCES_1),
        (papers.TABLE_2, papers.DISTANCES_2),
        (papers.TABLE_5, papers.DISTANCES_5),
    ):
        order = sorted(numbers, key=lambda cell: float(numbers[cell]))
        far = [float(distances[cell]) for cell in order]
        assert far == sorted(far, reverse=True)


@pytest.mark.parametrize(
    ("table", "override", "expected"),
    [
        ("transfer-1", "method.sources=[noise]", "this table is of the training images; transfer-2 is"),
        ("transfer-2", "method.tau=3.0", "this table needs images of yours, such as 'method.sources=[svhn"),
        (
            "transfer-3",
            "method.tau=3.0",
            "this table needs two (got 1), such as 'method.sources=[svhn.parquet",
        ),
        ("transfer-3", "method.sources=[a, b, c]", "this table needs two (got 3)"),
        ("transfer-4", "method.sources=[noise]", "this table needs images of yours"),
        ("transfer-5", "method={name: dfmf}", "this table needs images of yours"),
        ("transfer-5", "method.sources=[a/x, b/X.parquet]", "b/X.parquet: is called as "),
        ("transfer-5", "method.sources=[a/noise]", "is called as noise is"),
        ("transfer-5", "method.sources=[a/teachers]", "a/teachers: is called as the reference teachers is"),
        (
            "transfer-5",
            "method.sources=[svhn, tiny-imagenet, natural]",
            "natural: is called as the mixture of svhn and tiny-imagenet is; rename it",
        ),
        ("transfer-4", "method.sources=[Nothing.parquet]", "is called as the column nothing is"),
        ("transfer-2", "method.sources=[a/...parquet]", "has a name without letters"),
        ("transfer-2", "method.sources=[nowhere]", "nowhere: no such file or folder; to get such images: "),
        ("transfer-2", "method.sources=[]", "method.sources: must name at least one"),
        ("transfer-2", "method.classes=2.5", "method.classes"),
    ],
)
def test_sources_that_are_not_what_a_table_needs_are_said_in_a_line(
    tmp_path: Path, table: str, override: str, expected: str
) -> None:
    asked = Order(table=table, overrides=(override, f"output={tmp_path / 'runs'}"))
    with pytest.raises(UserError) as caught:
        reproduce(asked, Console(quiet=True))
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_row_and_a_column_between_which_there_is_no_cell_are_said_in_a_line(tmp_path: Path) -> None:
    images = tmp_path / "svhn"
    images.mkdir()
    overrides = (f"method.sources=[{images}]", f"output={tmp_path / 'runs'}")
    asked = Order(table="transfer-4", rows=("svhn",), columns=("svhn",), overrides=overrides)
    with pytest.raises(UserError, match=r"^--rows, --columns, --parts: the table has no cell there$"):
        reproduce(asked, Console(quiet=True))
    assert not (tmp_path / "runs").exists()
