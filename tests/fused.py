"""Folders of runs and sweeps as a fusion leaves them, written by hand with chosen results."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator import journal
from orchestrator.loading import dump_config, overridden_config

BASE = {
    "student": "resnet8",
    "data": {"source": "digits"},
    "pretrain": {"networks": ["resnet8"], "recipe": {"epochs": 3, "milestones": [2]}},
    "schedule": {"warmup_epochs": 1, "epochs": 2, "iterations_per_epoch": 5, "batch_size": 32},
    "engine": {"mode": "local"},
}


def write_run(
    folder: Path,
    *overrides: str,
    seed: int = 0,
    accuracy: float | None = 90.0,
    hashes: Sequence[str] | None = None,
    agreement: float | None = 80.0,
    **changes: Any,
) -> Path:
    """A finished run whose second epoch had `accuracy` and whose first had 10 % less; `changes` are those of
    summary.json."""
    folder.mkdir(parents=True)
    config = overridden_config(json.loads(json.dumps(BASE)), "test", [f"seed={seed}", *overrides])
    (folder / "config.yaml").write_text(dump_config(config))
    (folder / "environment.json").write_text(json.dumps({"python": "3.11.7", "packages": {"torch": "2.10"}}))
    for epoch in (0, 1, 2):
        metrics = {"warmup/party-0/bn": 1.0} if epoch == 0 else curves(epoch, accuracy)
        journal.append_epoch(folder, epoch, 5 * epoch, metrics)
    journal.write_table(folder)
    teachers = [
        {"name": f"party-{party}", "network": "resnet8", "sha256": digest, **scores(teacher)}
        for party, (digest, teacher) in enumerate(
            zip(hashes or (f"a{seed}", f"b{seed}"), (80.0 + seed, 70.0), strict=True)
        )
    ]
    if accuracy is None:
        teachers = [{**one, **scores(None)} for one in teachers]
    summary = {
        "teachers": teachers,
        "ensemble": scores(None if accuracy is None else 95.0),
        "student": {**scores(accuracy), "agreement": agreement, "agreement_on": "synthetic images"},
        "gap_closed": None if accuracy is None else 50.0,
        "seconds": 60.0 + seed,
        "seed": seed,
        "status": "finished",
        **changes,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def scores(accuracy: float | None) -> dict[str, Any]:
    """A classifier's; ten classes, two subsets."""
    if accuracy is None:
        return {"accuracy": None, "per_class": None, "per_subset": None}
    return {"accuracy": accuracy, "per_class": [accuracy] * 10, "per_subset": [accuracy - 1, accuracy + 1]}


def curves(epoch: int, accuracy: float | None) -> dict[str, float]:
    """An epoch's metrics."""
    measured = {} if accuracy is None else {"eval/accuracy": accuracy - 10 * (2 - epoch)}
    parties = {"generator/party-0/adv": -0.1, "generator/party-1/adv": -0.3, "student/party-0/adv": -0.5}
    return {**measured, **parties, "student/party-1/adv": -0.7 * epoch}


def write_sweep(
    folder: Path,
    results: Mapping[tuple[Any, int], float],
    *failed: Mapping[str, Any],
    key: str = "schedule.m_ga",
    base: str = "schedule.m_ga=5",
    **changes: Any,
) -> Path:
    """A sweep over one key with accuracies by (value, seed), and further trials as they stand in its file."""
    folder.mkdir(parents=True)
    trials: list[Mapping[str, Any]] = []
    for (value, seed), accuracy in results.items():
        name = f"{key}={value},seed={seed}"
        write_run(folder / "trials" / name, f"{key}={value}", seed=seed, accuracy=accuracy)
        trials.append(trial(name, seed, {key: value}))
    config = overridden_config(json.loads(json.dumps(BASE)), "test", [base])
    (folder / "config.yaml").write_text(dump_config(config))
    content = {
        "schema": 1,
        "name": "m_ga",
        "space": "m_ga",
        "parameters": {key: {"label": "M_GA", "scale": "log"}},
        "objective": "accuracy",
        "status": "finished",
        "trials": [*trials, *failed],
        **changes,
    }
    (folder / "sweep.json").write_text(json.dumps(content))
    return folder


def trial(
    name: str, seed: int, parameters: Mapping[str, Any], status: str = "finished", reason: str | None = None
) -> dict[str, Any]:
    """As it stands in sweep.json."""
    return {
        "name": name,
        "parameters": dict(parameters),
        "seed": seed,
        "folder": f"trials/{name}",
        "status": status,
        "reason": reason,
        "seconds": 61.2,
        "seconds_to_first_iteration": None,
    }
