"""A student on two processes learns what one process learns."""

import dataclasses
import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from fusion.assembly import build_student
from fusion.augmentation import Augmentation
from fusion.compute import Compute
from fusion.data_parallel import _synchronised_on_gpus, distribute, mean_over_processes, shard
from fusion.labelling import label
from fusion.methods import Dfmf
from fusion.networks import build_network
from tests.tiny import CPU, SPEC, settings, teacher

OTHER = dataclasses.replace(SPEC, classes=("d", "c", "e"))
SUBJECTS = {
    "the same classes": ([teacher(0), teacher(1)], settings(augmentation=Augmentation())),
    "overlapping classes, confidence": (
        [teacher(0), teacher(1, spec=OTHER)],
        settings(augmentation=Augmentation(), weights="confidence"),
    ),
    "VID parts that nothing asks": ([teacher(0), teacher(1)], settings(method=Dfmf(beta=0.0))),
    "a teacher without weight": ([teacher(0), teacher(1)], settings(weights=(1.0, 0.0))),
    "timm": ([teacher(0), teacher(1)], settings(student="timm:test_efficientnet")),
    "bfloat16": ([teacher(0), teacher(1)], settings(compute=Compute(precision="bfloat16"))),
}
TOLERANCES = {
    "timm": {"rtol": 0.01, "atol": 1e-3},  # Deeper, and its last maps have one pixel.
    "bfloat16": {"rtol": 0.05, "atol": 0.02},
}
WORLD = 2


def unions() -> list[torch.Tensor]:
    stream = torch.Generator().manual_seed(0)
    return [torch.rand(12, 1, 8, 8, generator=stream) for _ in range(4)]


def learn(rank: int, folder: str, subject: str) -> None:
    teachers, chosen_settings = SUBJECTS[subject]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    student = build_student(teachers, chosen_settings, CPU)
    distribute(student)
    for iteration, images in enumerate(unions()):
        student.begin_iteration(iteration % 4)
        looked, chosen = student.view(iteration % 4).look(images)
        own = shard(looked, 2, rank, WORLD)
        student.learn(own, {one: label(student.teachers[one], own, student.compute) for one in chosen})
    metrics = mean_over_processes(student.meter.take())
    state = {name: value.detach() for name, value in student.learner.state_dict().items()}
    torch.save((state, metrics), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_two_processes_learn_what_one_learns(subject: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(learn, args=(folder, subject), nprocs=WORLD)
        results = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]
    student = build_student(*SUBJECTS[subject], CPU)
    for iteration, images in enumerate(unions()):
        student.begin_iteration(iteration % 4)
        student.update(images)
    expected, metrics = student.learner.state_dict(), student.meter.take()
    tolerance = TOLERANCES.get(subject, {"rtol": 1e-4, "atol": 1e-5})
    for state, means in results:
        for name, value in state.items():
            torch.testing.assert_close(value, expected[name], **tolerance)
        assert means.keys() == metrics.keys()
        torch.testing.assert_close(
            torch.tensor(list(means.values())), torch.tensor(list(metrics.values())), **tolerance
        )
    # Both processes are in step to the last bit.
    assert all(torch.equal(value, results[1][0][name]) for name, value in results[0][0].items())


def test_every_process_gets_its_part_of_every_partys_images() -> None:
    images = torch.arange(12.0).view(12, 1, 1, 1)
    assert shard(images, 2, 0, 3).flatten().tolist() == [0, 1, 6, 7]
    assert shard(images, 2, 2, 3).flatten().tolist() == [4, 5, 10, 11]
    stacked = images.expand(4, 12, 1, 1, 1)
    assert shard(stacked, 3, 1, 2)[3].flatten().tolist() == [2, 3, 6, 7, 10, 11]


def test_layers_of_batch_norm_and_an_activation_stay_so_on_gpus() -> None:
    network = build_network("timm:test_efficientnet", SPEC)
    kinds = {type(layer).__name__ for layer in _synchronised_on_gpus(network).modules()}
    assert "SyncBatchNormAct" in kinds
    assert not {"BatchNorm2d", "BatchNormAct2d"} & kinds
