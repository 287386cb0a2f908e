"""`dfmf choose`: which of several fusions is best, without labelled data.

Each run has been examined on the images of its own generators, and these differ from run to run. So there is
a common exam too: within a seed, where all runs have the same teachers, the held-out images of all generators
are pooled, and every student is compared with the teachers' ensemble on all of them.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusion.assembly import FusionSettings
from fusion.criteria import CRITERIA
from fusion.evaluation import logits_of
from fusion.label_spaces import LabelSpace
from fusion.networks import Classifier
from fusion.teachers import Teacher
from orchestrator.errors import user_error
from orchestrator.finished_runs import FinishedRun, find_runs
from orchestrator.ranking import COMMON, COMMON_CRITERIA, OWN, Record
from orchestrator.recording import teacher_hash
from orchestrator.results import criteria_of, driver_device
from orchestrator.tracking import flat

POOL_IMAGES = 2048
"""Images in the common exam of a seed, or a few less: the same number from every generator, at least one."""


def rank_runs(targets: Sequence[Path], say: Callable[[str], None] = lambda _: None) -> list[Record]:
    """Every criterion for each finished fusion in `targets`, folders of runs or of sweeps. Reads no accuracy.

    `say` hears which runs are being examined.

    Raises:
        UserError: no finished run, a damaged one, or runs that cannot be compared: other classes or images,
        or other teachers with the same seed.
    """
    return examine(find_runs(targets), say)


def examine(runs: Sequence[FinishedRun], say: Callable[[str], None] = lambda _: None) -> list[Record]:
    """`rank_runs` for runs that have been found."""
    words = differences([run.settings for run in runs])
    seeds: dict[int, list[int]] = {}
    for index, run in enumerate(runs):
        seeds.setdefault(run.config.seed, []).append(index)
    _check_students(runs)
    records: dict[int, Record] = {}
    for seed, members in seeds.items():
        say(f"seed {seed}: examining {len(members)} runs")
        found = _examine_seed([runs[index] for index in members])
        for index, criteria in zip(members, found, strict=True):
            records[index] = Record(
                folder=runs[index].folder, seed=seed, configuration=words[index], criteria=criteria
            )
    return [records[index] for index in range(len(runs))]


def true_accuracies(runs: Sequence[FinishedRun]) -> list[float] | None:
    """The students' accuracies on test images, in percent; None unless all runs have one.

    Only to judge criteria by: nothing is chosen with them.
    """
    found = [run.summary["student"].get("accuracy") for run in runs]
    return [float(one) for one in found] if all(isinstance(one, (int, float)) for one in found) else None


def differences(settings: Sequence[FusionSettings]) -> list[str]:
    """Each run's configuration in words: its values of the keys in which the runs differ, the seed apart,
    without those values that more than half of the runs with such a key have."""
    trees = [{key: str(value) for key, value in flat(dataclasses.asdict(one)).items()} for one in settings]
    common = {}
    for key in dict.fromkeys(key for tree in trees for key in tree):
        having = [tree[key] for tree in trees if key in tree]  # Each method has keys of its own.
        value, count = Counter(having).most_common(1)[0]
        common[key] = value if count > len(having) / 2 else None
    words = [
        " ".join(f"{key}={value}" for key, value in one.items() if key != "seed" and value != common[key])
        for one in trees
    ]
    return [one or "as most" for one in words]


def _examine_seed(runs: Sequence[FinishedRun]) -> list[dict[str, float | None]]:
    """The criteria of runs that must have the same teachers."""
    device = driver_device()
    first = runs[0].teachers()
    identity, space = _identity(runs[0], first), runs[0].settings.space(first)
    experts = [one.build().to(device) for one in first]
    share = max(POOL_IMAGES // (len(runs) * len(first)), 1)
    pool, own = [], []
    for run in runs:
        teachers = run.teachers()
        if _identity(run, teachers) != identity:
            raise user_error(
                f"{run.folder}: other teachers, inputs of them or weights, than {runs[0].folder} with the "
                f"same seed {run.config.seed}; within a seed only fusions of the same ones can be compared"
            )
        images = run.images(teachers)
        pool += [one[:share] for one in images]
        own.append(_stored(run) or _examined(run, torch.cat(images), experts, space))
    exam = torch.cat(pool)
    logits = [logits_of(one, exam, device) for one in experts]
    found = []
    for run, private in zip(runs, own, strict=True):
        student = logits_of(run.student().build().to(device), exam, device)
        common = criteria_of(student, logits, run.settings, space)
        found.append(
            {name: common[name.removeprefix(f"{COMMON}/")] for name in COMMON_CRITERIA}
            | {f"{OWN}/{name}": value for name, value in private.items()}
        )
    return found


def _identity(run: FinishedRun, teachers: Sequence[Teacher]) -> tuple[Any, ...]:
    """What makes the ensemble: the teachers' networks, inputs, classes, hashes and weights."""
    members = [(one.network, one.spec, teacher_hash(one)) for one in teachers]
    return members, run.settings.teacher_weights(len(teachers)), run.settings.confident


def _examined(
    run: FinishedRun, images: Tensor, experts: Sequence[Classifier], space: LabelSpace
) -> dict[str, float | None]:
    device = driver_device()
    logits = [logits_of(one, images, device) for one in experts]
    student = logits_of(run.student().build().to(device), images, device)
    return criteria_of(student, logits, run.settings, space)


def _stored(run: FinishedRun) -> dict[str, float | None] | None:
    """The own exam as the run has left it; runs of older versions have none."""
    found: Any = run.summary["student"].get("criteria")
    if not isinstance(found, dict) or set(found) != set(CRITERIA):
        return None
    values = list(found.values())
    usable = all(one is None or (isinstance(one, (int, float)) and one == one) for one in values)
    return {name: found[name] for name in CRITERIA} if usable else None


def _check_students(runs: Sequence[FinishedRun]) -> None:
    """All students must take the same images and know the same classes."""
    first: Teacher | None = None
    for run in runs:
        student = run.student()
        first = first or student
        mine, theirs = student.spec, first.spec
        if mine.classes != theirs.classes:
            raise user_error(
                f"{run.folder}: its student knows other classes than that of {runs[0].folder} "
                f"({len(mine.classes)} and {len(theirs.classes)})"
            )
        if (mine.channels, mine.size) != (theirs.channels, theirs.size):
            raise user_error(
                f"{run.folder}: its student takes {mine.channels}x{mine.size}x{mine.size} images, that of "
                f"{runs[0].folder} {theirs.channels}x{theirs.size}x{theirs.size}"
            )
