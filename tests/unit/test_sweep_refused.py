"""Spaces that would only fail when they have run, or lose trials, are refused before; without Ray."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.errors import UserError
from orchestrator.loading import parse_config
from orchestrator.progress import Display
from orchestrator.sweep import reporting
from orchestrator.sweep.space import Space, check_space, load_space
from orchestrator.sweep.wishes import prepared
from tests.tiny import tiny_run

BASE = prepared(parse_config(tiny_run(), "base"))
ZSKT = {"method.name": "zskt", "schedule.warmup_epochs": 0}


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({"cases": {"a": {"method.tau": 2.0}}, "seeds": []}, "seeds: must be at least one, each once"),
        ({"cases": {"a": {"method.tau": 2.0}}, "seeds": [0, 0]}, "seeds: must be at least one, each once"),
        (
            {"cases": {"a": {"method.tau": 2.0}, "b": {"method.tau": 2}}},
            "cases.b: has the same values as case a",
        ),
    ],
)
def test_seeds_and_cases_are_there_and_each_once(
    tmp_path: Path, space: dict[str, Any], expected: str
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(json.dumps(space))
    with pytest.raises(UserError) as caught:
        load_space(str(file))
    assert str(caught.value) == f"space {file}: {expected}"


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (
            {"parameters": {"data.image_size": {"grid": [8, 16]}}},
            "space s: parameters.data.image_size: is not for a sweep to vary",
        ),
        (
            {"cases": {"a": {"teachers": ["a.safetensors"]}}},
            "space s: cases.a.teachers: is not for a sweep to vary",
        ),
        (
            {"parameters": {"method.alpha": {"grid": [0.1]}}, "cases": {"dfmf": {}, "zskt": ZSKT}},
            "space s: cases.zskt, method.alpha=0.1: method.alpha: unknown key",
        ),
        (
            {"parameters": {"pretrain.parties": {"grid": [2, 4]}, "schedule.batch_size": {"grid": [32, 3]}}},
            "space s: pretrain.parties=4, schedule.batch_size=3: schedule.batch_size",
        ),
    ],
)
def test_what_would_fail_later_is_refused_before_anything_starts(
    space: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UserError) as caught:
        check_space(Space.model_validate_json(json.dumps(space)), BASE, "s")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(expected)


def test_points_that_are_drawn_are_checked_by_their_ends() -> None:
    parties, batch = {"grid": [2, 4]}, {"grid": [32, 3]}
    space = Space.model_validate_json(
        json.dumps({"parameters": {"pretrain.parties": parties, "schedule.batch_size": batch}})
    )
    check_space(space, BASE, "s", combined=False)


def test_many_wrong_points_are_not_many_lines() -> None:
    space = Space.model_validate_json(
        json.dumps({"parameters": {"method.tau": {"grid": [-1.0 - number for number in range(100)]}}})
    )
    with pytest.raises(UserError) as caught:
        check_space(space, BASE, "s")
    lines = str(caught.value).splitlines()
    assert (len(lines), lines[-1]) == (21, "space s: and 80 more like these")


def test_trials_that_cannot_be_compared_are_kept_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Finished:
        all_rows = ({"status": "finished"},)

    def refuse(*_: object) -> None:
        raise UserError("a and b cannot be compared")

    monkeypatch.setattr(reporting, "_compare", refuse)
    reporting.show(None, Finished(), Display(Console()))  # type: ignore[arg-type]
    assert capsys.readouterr().out == "no report: a and b cannot be compared\n"
