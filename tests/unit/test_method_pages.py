"""The pages of the methods: each has its results, and none that docs/results.md has not."""

import re
from pathlib import Path

import pytest

from fusion.methods import METHODS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page for page in (DOCS / "methods").glob("*.md") if page.name != "README.md")
SHARED = {"cmi_ga": "cmi", "adaptive_deepinversion": "deepinversion"}


def slugs(page: Path) -> set[str]:
    """What its headings can be linked by."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_method_has_a_page() -> None:
    assert {page.stem for page in PAGES} == {SHARED.get(name, name) for name in METHODS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_measured_results_and_no_number_of_its_own(page: Path) -> None:
    _, _, section = page.read_text(encoding="utf-8").partition("\n## Results\n")
    results = (DOCS / "results.md").read_text(encoding="utf-8")
    numbers = re.findall(r"\d+\.\d+ ± \d+\.\d+", section)
    assert len(numbers) >= 4  # The teachers' ensemble's, at least.
    assert [number for number in numbers if number not in results] == []
    links = re.findall(r"\.\./results\.md#([\w-]+)", section)
    assert len(links) >= 2
    assert set(links) <= slugs(DOCS / "results.md")
    known = [line.replace("**", "").strip("| ").split(" | ") for line in results.splitlines()]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert len(rows) >= 3  # The head, a method, the teachers' ensemble.
    for name, *cells in rows[1:-1]:
        of_the_method = [cell for one in known if one[0] == name for cell in one]
        assert [cell for cell in cells if cell not in (*of_the_method, "not measured yet")] == []
