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


def told(monkeypatch: pytest.MonkeyPatch, cpus: float, gpus: float, *changes: str) -> dict[str, str]:
    """The lines of the costs, by their first word, of a run here at 1 GFLOP/s."""
    monkeypatch.setattr(dry_run, "_resources", lambda _: (cpus, gpus, "this machine"))
    monkeypatch.setattr(dry_run, "measured_flops_per_second", lambda *_: 1e9)
    monkeypatch.setattr(dry_run.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(dry_run, "_duration", lambda seconds: f"{seconds!r} s")
    lines = describe("demo", list(changes)).partition("# cost of the fusion")[2].splitlines()
    return {line.partition(" ")[0]: line.partition(" ")[2].strip() for line in lines if line}


def duration(lines: dict[str, str]) -> float:
    return float(lines["time"].removeprefix("roughly ").partition(" s ")[0])


def test_lanes_with_two_threads_each_share_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    operations = float(told(monkeypatch, 2, 0)["operations"].partition(" ")[0])
    two = duration(told(monkeypatch, 2, 0, "engine.threads=2", "engine.labelling=student"))
    # The rate of a lane is that of two threads, and there is room for one such lane.
    assert two == pytest.approx(operations / 1e9, rel=0.05)
    one = duration(told(monkeypatch, 2, 0, "engine.threads=1", "engine.labelling=student"))
    assert one < 0.7 * two


def test_a_gpu_that_is_not_here_has_a_rate_that_is_supposed(monkeypatch: pytest.MonkeyPatch) -> None:
    both = told(monkeypatch, 4, 1, "engine.gpus_per_party=0")["time"]
    assert "at 1.0 GFLOP/s a cpu lane (measured here, just now) and 20000.0 GFLOP/s a GPU (supposed" in both
    assert "cpu lane" not in told(monkeypatch, 4, 1)["time"]


def test_in_one_process_nothing_travels_and_nobody_else_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(monkeypatch, 2, 0, "engine.mode=local", "engine.labelling=parties")
    assert lines["labelling"] == "in this process too"
    assert lines["images"].endswith("an iteration, in this process")
    assert "lanes" not in lines["time"]
    assert "a cpu (measured here" in lines["time"]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (
            "digits-union",
            "# classes\nthe student learns 10 classes; of these know: party-0 6 (0, ",
        ),
        ("demo", ""),
    ],
)
def test_who_knows_which_classes_is_said_where_it_is_not_plain(
    run: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "_cost", lambda *_: "")
    text = describe(run, ["engine.mode=local"])
    assert said in text
    assert ("# classes" in text) == bool(said)
