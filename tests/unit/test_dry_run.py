"""`--dry-run` says what a run would be refused for, or wait for."""

import pytest

from orchestrator import dry_run
from orchestrator.dry_run import describe


@pytest.mark.parametrize(
    ("changes", "gpus", "words"),
    [
        (
            ["engine.gpus_per_party=1"],
            0.0,
            "a run would be refused: engine.gpus_per_party: the student and 2 parties need 2 GPUs and 3 "
            "CPUs, the cluster has 0 GPUs and 4 CPUs\n",
        ),
        (["engine.gpus_per_party=1"], 4.0, ""),
        (
            ["engine.student_workers=2", "engine.gpus_per_party=0.5"],
            2.0,
            "a run would be refused: engine.student",
        ),
        (
            ["engine.gpus_per_party=1", "engine.address=h:1", "engine.wait_seconds=90"],
            0.0,
            "a run would wait for more, up to 90 s: engine.gpus_per_party: ",
        ),
        (["engine.gpus_per_party=1", "engine.mode=local"], 0.0, ""),
        ([], 0.0, ""),
    ],
)
def test_what_a_run_would_be_refused_for_is_said(
    changes: list[str], gpus: float, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "_resources", lambda _: (4.0, gpus, "this machine"))
    monkeypatch.setattr(dry_run, "_cost", lambda *_: "")
    told = describe("demo", changes)
    assert words in told
    assert told.count("a run would") == bool(words)
