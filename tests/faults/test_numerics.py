"""Numbers that go wrong in mid-run: the run stops and says where, or goes back and finishes."""

import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from rich.console import Console
from torch import nn

from benchmarks.injection import Injector
from fusion.assembly import FusionSettings
from fusion.health import Diverged, Limits
from fusion.party import Party
from fusion.student import Student
from fusion.teachers import save_teacher
from orchestrator import fuse
from orchestrator.cluster import placed
from orchestrator.distributed import RayEngine
from orchestrator.engines import Job
from orchestrator.errors import RunFailed
from orchestrator.local import LocalEngine
from orchestrator.run_parts import FusionResult
from orchestrator.sections import EngineSettings
from tests.tiny import settings, teacher, tiny_run

HIT = 10
"""The iteration (from 0) that is hit, the first of the second epoch; the checkpoint before it is after 8."""


def config(folder: Path, **numerics: Any) -> dict[str, Any]:
    for index in range(2):
        save_teacher(teacher(index), folder / f"party-{index}.safetensors")
    return tiny_run(
        output=str(folder / "runs"),
        name="one",
        data=None,
        pretrain=None,
        teachers=[{"path": str(folder / f"party-{index}.safetensors")} for index in range(2)],
        schedule={"warmup_epochs": 1, "epochs": 3, "iterations_per_epoch": 10, "batch_size": 16},
        checkpoint={"every_iterations": 8},
        tracking={"enabled": False},
        numerics=numerics,
    )


def nan_in(module: nn.Module) -> None:
    with torch.no_grad():
        next(module.parameters()).view(-1)[0] = math.nan


def explode(party: Party) -> None:
    """The assistant is sure of everything, so its images are as adversarial as can be."""
    with torch.no_grad():
        for parameter in list(party.assistant.parameters())[-2:]:
            parameter.mul_(1e4)


def collapse(party: Party) -> None:
    """All images are the same, and the teacher is sure what they are."""
    party.generator.forward = lambda noise: torch.ones(len(noise), 1, 8, 8, requires_grad=True) * 1.0  # type: ignore[method-assign]
    with torch.no_grad():
        for parameter in list(party.teacher.parameters())[-2:]:
            parameter.mul_(1e3)


Harm = Callable[[Any], None]
CASES: dict[str, tuple[type, str, int, Harm, str]] = {
    "a generator": (
        Party,
        "update_generator",
        1,
        lambda one: nan_in(one.generator),
        "generator/party-1/adv is nan",
    ),
    "an assistant": (
        Party,
        "update_assistant",
        0,
        lambda one: nan_in(one.assistant),
        "assistant/party-0/distill is nan",
    ),
    "the student": (Student, "update", 0, lambda one: nan_in(one.classifier), "student/distill is nan"),
    "an adversarial loss": (Party, "update_generator", 1, explode, "generator/party-1/adv is"),
    "a collapse": (Party, "update_generator", 0, collapse, "generator/party-0/bce is"),
}


@pytest.fixture
def hit(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], list[int]]:
    """Do the harm of a case, in up to `times` attempts at the iteration; the seeds of the noise that was
    hit."""

    def install(case: str, times: int) -> list[int]:
        kind, method, index, harm, _ = CASES[case]
        begin, act = kind.begin_iteration, getattr(kind, method)
        seeds: list[int] = []

        def begun(self: Any, iteration: int, *critic: Any) -> None:
            begin(self, iteration, *critic)
            self.hit_now = iteration == HIT and getattr(self, "index", index) == index and len(seeds) < times

        def acted(self: Any, *arguments: Any) -> Any:
            if self.hit_now:
                self.hit_now = False
                seeds.append(self.seed)
                harm(self)
            return act(self, *arguments)

        monkeypatch.setattr(kind, "begin_iteration", begun)
        monkeypatch.setattr(kind, method, acted)
        return seeds

    return install


def fused(tree: dict[str, Any]) -> FusionResult:
    return fuse(tree, console=Console(width=500))


@pytest.mark.parametrize("case", CASES)
def test_a_run_stops_and_says_who_what_and_how_to_go_on(
    case: str, hit: Callable[[str, int], list[int]], tmp_path: Path
) -> None:
    seeds = hit(case, 1)
    with pytest.raises(RunFailed) as error:
        fused(config(tmp_path))
    message, run = str(error.value), tmp_path / "runs" / "one"
    assert len(seeds) == 1
    assert "\n" not in message
    assert message.startswith(CASES[case][-1])
    assert ("over epoch 2" if case == "a collapse" else "in iteration 11") in message
    assert "to go on from iteration 8 with other noise" in message
    assert f"dfmf fuse --resume {run} numerics.policy=rewind numerics.rewinds=3" in message
    assert not (run / "summary.json").exists()
    result = fuse(None, "numerics.policy=rewind", "numerics.rewinds=3", resume=run)
    assert (result.summary["status"], result.summary["rewinds"]) == ("finished", 0)  # The harm was done once.


@pytest.mark.parametrize("case", CASES)
def test_a_run_goes_back_with_other_noise_and_smaller_learning_rates_and_finishes(
    case: str, hit: Callable[[str, int], list[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds, rates = hit(case, 2), list[float]()
    put = FusionSettings.tamed_optimisation
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            FusionSettings,
            "tamed_optimisation",
            lambda self: (tamed := put(self), rates.append(tamed.generator_lr))[0],
        )
        result = fused(config(tmp_path, policy="rewind"))
    assert (result.summary["status"], result.summary["rewinds"]) == ("finished", 2)
    assert json.loads((result.folder / "summary.json").read_text())["rewinds"] == 2
    assert len(seeds) == 2
    assert (len(set(seeds)) == 2) == (CASES[case][0] is Party)  # Only the generators draw noise.
    assert [rate / rates[0] for rate in sorted(set(rates), reverse=True)] == [1, 0.5, 0.25]
    output = capsys.readouterr().out
    for number in (1, 2):
        line = next(one for one in output.splitlines() if f"(rewind {number} of at most 3)" in one)
        assert line.startswith(CASES[case][-1])
        assert "going back from iteration 8, with other noise and learning rates halved" in line


def test_a_run_that_goes_wrong_again_and_again_stops_after_all(
    hit: Callable[[str, int], list[int]], tmp_path: Path
) -> None:
    seeds = hit("a generator", 99)
    with pytest.raises(RunFailed, match=r"stopped with 2 rewinds .*numerics\.rewinds=3$"):
        fused(config(tmp_path, policy="rewind", rewinds=2))
    assert len(set(seeds)) == 3
    run = tmp_path / "runs" / "one"
    # How often it went back is part of the checkpoint, so the next attempt has noise of its own again.
    with pytest.raises(RunFailed, match=r"stopped with 3 rewinds"):
        fuse(None, "numerics.policy=rewind", "numerics.rewinds=3", resume=run)
    assert len(set(seeds)) == 4


@pytest.mark.slow
def test_mlflow_knows_of_the_rewinds(hit: Callable[[str, int], list[int]], tmp_path: Path) -> None:
    hit("the student", 1)
    tree = config(tmp_path, policy="rewind") | {"tracking": {}}
    result = fused(tree)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    run = client.get_run(result.summary["mlflow_run_id"])
    assert (run.info.status, run.data.metrics["final/rewinds"]) == ("FINISHED", 1.0)
    history = client.get_metric_history(run.info.run_id, "student/distill")
    assert sorted({point.step for point in history}) == [1, 2, 3]


@pytest.mark.ray
def test_both_engines_stop_at_the_same_number(ray_cluster: None) -> None:
    tame = Job(teachers=[teacher(0), teacher(1)], settings=settings(), evaluation=None)
    LocalEngine(threads=1).fuse(tame, Injector({}))  # Nothing is wrong with the default limits.
    strict = dataclasses.replace(tame, limits=Limits(largest_adv=1e-9))
    fast = dataclasses.replace(tame.settings.optimisation, generator_lr=1e30)
    for job, term in (
        (strict, "generator/party-0/adv"),
        (dataclasses.replace(tame, settings=settings(optimisation=fast)), "warmup/party-0/"),
    ):
        with pytest.raises(Diverged) as here:
            LocalEngine(threads=1).fuse(job, Injector({}))
        chosen = EngineSettings(party_actors=2)
        with placed(2, chosen, print) as (plan, group), pytest.raises(Diverged) as there:
            RayEngine(chosen, plan, group).fuse(job, Injector({}))
        assert here.value.term.startswith(term)
        # In the warm-up the parties are ahead of each other, so either may be the first.
        mine, theirs = (re.sub(r"warmup/party-\d", "warmup/party", str(one.value)) for one in (here, there))
        assert mine == theirs
