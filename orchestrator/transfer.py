"""The transfer set of a run: read, balanced by what the teachers see in it, and dealt out to the parties."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusion.bank import ImageBank
from fusion.data.labelled import DataError, LabelledImages
from fusion.data.unlabelled import check_images, read_images
from fusion.evaluation import logits_of
from fusion.seeding import random_stream
from fusion.state import take_state
from fusion.teachers import Teacher
from fusion.transfer_set import Chosen, choose, dealt, embeddings, hausdorff, noise_images
from fusion.transferring import Transferring
from orchestrator.config import RunConfig
from orchestrator.errors import user_error
from orchestrator.keeper import Keeper
from orchestrator.results import driver_device, ensemble_of
from orchestrator.run_folder import write_json
from orchestrator.snapshot import PartySnapshot, Snapshot
from orchestrator.teachers import read_data

NOISE, DATA = "noise", "data"
"""Sources that are no paths."""
FILE = "transfer_set.json"
CPU = torch.device("cpu")


def check_sources(config: RunConfig) -> None:
    """What can be known of a transfer set before anything is computed.

    Raises:
        UserError: a source is not there, or holds no images.
    """
    if not isinstance(config.method, Transferring):
        return
    for index, source in enumerate(config.method.taken_from):
        if source == DATA and config.data is None:
            raise user_error(f"data: needed for the training images that method {config.method.name!r} takes")
        if source not in (NOISE, DATA):
            try:
                check_images(source, config.method.column)
            except DataError as error:
                raise user_error(f"method.sources.{index}: {error}") from error


def with_transfer_set(
    config: RunConfig,
    teachers: Sequence[Teacher],
    test: LabelledImages | None,
    start: Snapshot,
    keeper: Keeper,
    folder: Path,
    say: Callable[[str], None],
) -> Snapshot:
    """`start`, or under a method with a transfer set the beginning of a run whose parties' banks hold it.
    What it is like is said, and written to transfer_set.json.

    Raises:
        UserError: a source cannot be read; a balanced set has no image of a class; or there are too few.
    """
    method = config.method
    if not isinstance(method, Transferring) or start.parties:
        return start
    images = [_read(config, method, index, teachers[0]) for index in range(len(method.taken_from))]
    labels = [_labels(config, teachers, one) for one in images]
    classes = config.fusion_settings().space(teachers).classes
    chosen = choose(
        labels,
        len(classes),
        most=method.images,
        balanced=method.evenly,
        among=method.among,
        stream=random_stream(CPU, config.seed, "transfer-set"),
    )
    _check(config, method, classes, chosen, labels, say)
    kept = torch.cat([one[where] for one, where in zip(images, chosen.places, strict=True)])
    kept_labels = torch.cat([one[where] for one, where in zip(labels, chosen.places, strict=True)])
    distances = _distances(teachers, kept, test)
    _report(folder / FILE, method, classes, chosen, labels, distances, say)
    parts = dealt(kept_labels, len(teachers), random_stream(CPU, config.seed, "transfer-parts"))
    size = method.share(len(teachers))
    filled = Snapshot(
        parties={
            index: PartySnapshot(warmup_steps=0, iterations=0, state=_bank(teacher, kept[part], size))
            for index, (teacher, part) in enumerate(zip(teachers, parts, strict=True))
        }
    )
    keeper.keep(filled, [teacher.name for teacher in teachers])  # What a run goes back to, if at all.
    return filled


def _read(config: RunConfig, method: Transferring, index: int, teacher: Teacher) -> Tensor:
    source, spec = method.taken_from[index], teacher.spec
    if source == NOISE:
        stream = random_stream(CPU, config.seed, "transfer-noise", index)
        return noise_images(method.images, spec, stream)
    if source == DATA:
        data = read_data(config)
        assert data is not None
        return data[0].images
    try:
        return read_images(source, spec, method.column)
    except DataError as error:
        raise user_error(f"method.sources.{index}: {error}") from error


def _labels(config: RunConfig, teachers: Sequence[Teacher], images: Tensor) -> Tensor:
    """The class that the teachers' ensemble sees in each image."""
    device, settings = driver_device(), config.fusion_settings()
    logits = [logits_of(one.build().to(device), images, device) for one in teachers]
    return ensemble_of(logits, settings, settings.space(teachers)).argmax(dim=1)


def _check(
    config: RunConfig,
    method: Transferring,
    classes: Sequence[str],
    chosen: Chosen,
    labels: Sequence[Tensor],
    say: Callable[[str], None],
) -> None:
    counts = chosen.counts(labels, len(classes))
    wanted = zip(classes[: method.among], counts, strict=False)
    missing = [name for name, count in wanted if count == 0]
    if missing:
        problem = f"the teachers see no image of {', '.join(missing)} in the transfer set"
        if method.evenly:
            raise user_error(
                f"method.sources: {problem}; add a source, or take it as it is (method.balanced=false)"
            )
        say(f"warning: {problem}")
    if sum(counts) < config.schedule.batch_size:
        raise user_error(
            f"method.sources: {sum(counts)} images do not make a batch of {config.schedule.batch_size} "
            "(schedule.batch_size)"
        )


def _distances(
    teachers: Sequence[Teacher], kept: Tensor, test: LabelledImages | None
) -> dict[str, float | None]:
    """By teacher: the Hausdorff distance of the transfer set to the test images in its feature space."""
    if test is None:
        return {teacher.name: None for teacher in teachers}
    device = driver_device()
    found: dict[str, float | None] = {}
    for teacher in teachers:
        classifier = teacher.build().to(device)
        ours, theirs = (embeddings(classifier, one, device) for one in (kept, test.images))
        found[teacher.name] = round(hausdorff(ours, theirs), 4)
    return found


def _report(
    path: Path,
    method: Transferring,
    classes: Sequence[str],
    chosen: Chosen,
    labels: Sequence[Tensor],
    distances: Mapping[str, float | None],
    say: Callable[[str], None],
) -> None:
    counts = chosen.counts(labels, len(classes))
    wanted = counts[: method.among]
    sources = [
        {"source": name, "images": len(one), "kept": len(where), "per_class": frequencies}
        for name, one, where, frequencies in zip(
            method.taken_from, labels, chosen.places, chosen.frequencies, strict=True
        )
    ]
    content: dict[str, Any] = {
        "classes": list(classes),
        "balanced": method.evenly,
        "sources": sources,
        "per_class": counts,
        "hausdorff": dict(distances),
    }
    write_json(path, content)
    say(f"transfer set: {sum(counts)} images, {min(wanted)} to {max(wanted)} of a class ({path.name})")


def _bank(teacher: Teacher, images: Tensor, size: int) -> dict[str, Tensor]:
    bank = ImageBank(size, teacher.spec)
    bank.add(images.float() / 255)
    return take_state({"bank": bank}, {})
