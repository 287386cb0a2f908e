"""What is measured before a run, to say how long it will take."""

import pytest
import torch

from orchestrator.estimate import probe_batch

MILLION, BILLION = 1e6, 1e9


@pytest.mark.parametrize(
    ("device", "image_flops", "run", "expected"),
    [
        ("cpu", 10 * MILLION, 256, 66),
        ("cpu", 10 * MILLION, 20, 20),
        ("cpu", BILLION, 256, 2),  # One image has no variance to normalise by.
        ("cuda", 10 * MILLION, 256, 256),
        ("cuda", BILLION, 256, 256),
        ("cuda", BILLION, 1, 2),
    ],
)
def test_a_gpu_is_measured_with_the_runs_own_batch_and_a_cpu_with_little_work(
    device: str, image_flops: float, run: int, expected: int
) -> None:
    assert probe_batch(image_flops, run, torch.device(device)) == expected
