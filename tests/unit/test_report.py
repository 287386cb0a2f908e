"""The report is one file that asks nobody for anything, and shows what strangers wrote as mere text."""

import base64
import csv
import io
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.comparison import all_plots, collect, compare, write_all, write_report
from orchestrator.comparison.drawing import csv_text, picture
from orchestrator.errors import UserError
from tests.fused import trial, write_run, write_sweep

M_GA = {(1, 0): 90.0, (1, 1): 92.0, (5, 0): 91.0, (5, 1): 95.0}
HOSTILE = "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=a()> {{ 7*7 }} $\\frac{$"
LOADING = {"src", "srcset", "href", "xlink:href", "action", "data", "poster", "background", "style"}
VOID = {"meta", "source", "img", "br"}
FIGURES = {
    *("sensitivity-schedule.m_ga", "parallel-coordinates", "accuracy-over-epochs", "adversarial-loss"),
    *("per-class", "per-subset", "time"),
}


class Reader(HTMLParser):
    """Tags, what they load, and the text; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: dict[str, str] = {}
        self.loaded: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        given = dict(attrs)
        self.loaded += [value or "" for name, value in attrs if name in LOADING]
        assert not [name for name in given if name.startswith("on")]
        if given.get("download"):
            self.links[str(given["download"])] = str(given["href"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def content(link: str) -> str:
    return base64.b64decode(link.partition(";base64,")[2]).decode()


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    failed = trial(HOSTILE.replace("/", "|"), 0, {"schedule.m_ga": 2}, "failed", HOSTILE)
    parameters = {"schedule.m_ga": {"label": HOSTILE, "scale": "log"}}
    folder = tmp_path_factory.mktemp("sweeps") / "s"
    write_sweep(folder, M_GA, failed, name=HOSTILE, parameters=parameters)
    (folder / "trials" / "schedule.m_ga=1,seed=0" / "environment.json").write_text(
        '{"python": "<b>3</b>", "packages": {"torch</p>": "=1", "half": "\\ud800"}}'
    )
    return folder


@pytest.fixture(scope="module")
def report(sweep: Path) -> Reader:
    path = sweep.parent / "report.html"
    write_report([sweep], path, tracking_uri="http://me:secret@example.org")
    return Reader(path.read_text(encoding="utf-8"))


def test_the_report_loads_nothing_and_runs_nothing(report: Reader, sweep: Path) -> None:
    assert report.loaded and all(one.startswith("data:") for one in report.loaded)
    assert not report.tags & {"script", "link", "iframe", "object", "embed", "base", "form", "b", "svg"}
    page = (sweep.parent / "report.html").read_text(encoding="utf-8")
    assert "url(" not in page and "@import" not in page
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page
    drawn = [content(one) for one in report.loaded if one.startswith("data:image/svg")]
    assert len(drawn) == 2 * len(FIGURES)  # Light and dark.
    for one in drawn:
        elements = list(ET.fromstring(one).iter())  # It parses, though names were hostile.
        assert not [element for element in elements if element.tag.endswith("script")]
        targets = [value for element in elements for name, value in element.attrib.items() if "href" in name]
        assert targets and all(value.startswith(("#", "data:")) for value in targets)


def test_hostile_names_are_text(report: Reader) -> None:
    assert report.text.count(HOSTILE) >= 3  # The title, the heading, and the reason.
    assert "<b>3</b>" in report.text and "torch</p> =1" in report.text
    assert "half \\ud800" in report.text


def test_it_says_the_command_the_configuration_versions_and_seeds(report: Reader, sweep: Path) -> None:
    assert f"dfmf report {sweep} --tracking-uri 'http://***@example.org' --to" in report.text
    assert "secret" not in report.text
    assert (
        "schedule.batch_size=32" in report.text and "schedule.m_ga=" not in report.text.split("Versions")[1]
    )
    assert "torch 2.10" in report.text and "seeds 0, 1" in report.text


def test_every_figure_has_its_numbers(report: Reader) -> None:
    assert set(report.links) == {f"{name}.csv" for name in {*FIGURES, "table", "runs"}}
    bars = table(content(report.links["per-subset.csv"]))
    assert bars[0] == {"group": "m_ga=1", "subset": "party 0", "mean": "90.0", "sd": bars[0]["sd"], "n": "2"}
    assert float(bars[0]["sd"]) == pytest.approx(2**0.5)  # 89 and 91
    rows = {row["group"]: row for row in table(content(report.links["table.csv"]))}
    assert (rows["m_ga=1"]["accuracy_mean"], rows["m_ga=1"]["difference_mean"]) == ("91.0", "-2.0")
    assert rows["m_ga=5"]["reference"] == "true" and rows["m_ga=2"]["accuracy_mean"] == ""
    dots = table(content(report.links["sensitivity-schedule.m_ga.csv"]))
    found = {(row["schedule.m_ga"], row["seed"]): float(row["accuracy"]) for row in dots}
    assert found == {(str(value), str(seed)): score for (value, seed), score in M_GA.items()}


def test_figures_and_numbers_are_written_to_a_folder(sweep: Path, tmp_path: Path) -> None:
    files = write_all(compare(collect([sweep])), tmp_path / "out")
    assert {path.stem for path in files if path.suffix == ".png"} == FIGURES
    for path in files:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width > 500
        else:
            assert table(path.read_text()), path
    names = [row["run"] for row in table((tmp_path / "out" / "runs.csv").read_text())]
    assert len(names) == 5


def test_the_same_numbers_make_the_same_picture(sweep: Path) -> None:
    plot = all_plots(compare(collect([sweep])))[0]
    assert picture(plot, "svg") == picture(plot, "svg")
    assert picture(plot, "svg") != picture(plot, "svg", dark=True)


def test_a_cell_is_no_formula_and_a_number_stays_one() -> None:
    text = csv_text(["a"], [["=1+1"], ["@x"], ["-cmd"], [-1.5], [None], [True], ['a "quoted", one']])
    assert [row[0] for row in csv.reader(io.StringIO(text))][1:-4] == ["'=1+1", "'@x", "'-cmd"]
    assert text.splitlines()[4:] == ["-1.5", '""', "true", '"a ""quoted"", one"']


def test_runs_without_test_images_have_no_figures_of_accuracy(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(seed), seed=seed, accuracy=None, agreement=70.0) for seed in (0, 1)]
    compared = compare(collect(runs))
    assert {plot.name for plot in all_plots(compared)} == {"adversarial-loss", "time"}
    assert all("agreement" in plot.title for plot in all_plots(compared) if plot.name == "time")


def test_many_groups_are_drawn_as_the_reference_and_the_best(tmp_path: Path) -> None:
    results = {(value, 0): 50.0 + value for value in range(1, 13)}
    compared = compare(collect([write_sweep(tmp_path / "s", results, base="schedule.m_ga=1")]))
    plots = {plot.name: plot for plot in all_plots(compared)}
    curve = plots["accuracy-over-epochs"]
    assert "best 7 of 12 groups" in curve.caption
    assert len({row[0] for row in curve.rows}) == 12
    labels = [text.get_text() for text in curve.draw().legends[0].get_texts()]
    assert labels == [f"m_ga={value} (n = 1)" for value in (1, *range(6, 13))]


def test_a_place_that_cannot_be_written_to_is_a_line(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["report", str(sweep), "--to", str(tmp_path / "file" / "x.html")])
    assert result.exit_code == 2 and "--to: cannot write" in result.stderr
    with pytest.raises(UserError, match="--to: cannot write to"):
        write_all(compare(collect([sweep])), tmp_path / "file")
