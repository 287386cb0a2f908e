"""Held-out images of a generator: how many go through it at once, and that this changes none of them."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fusion import synthesis
from fusion.generator import DfqGenerator, GeneratorSettings
from fusion.networks import ImageSpec
from fusion.synthesis import HELD_OUT_IMAGES, held_out_images
from tests.tiny import SPEC, settings

SMALL = GeneratorSettings(latent_dim=4, width=8, sampling="running")


def images_of(spec: ImageSpec, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Sequence[int]]:
    """What a new generator makes, and how many at once."""
    generator, batches = DfqGenerator(SMALL, spec), []

    def counted(self: DfqGenerator, noise: Tensor) -> Tensor:
        batches.append(len(noise))
        return forward(self, noise)

    forward = DfqGenerator.forward
    monkeypatch.setattr(DfqGenerator, "forward", counted)
    images = held_out_images([generator.state_dict()], [spec], settings(generator=SMALL))
    monkeypatch.undo()
    return images, batches


@pytest.mark.parametrize(("size", "shares"), [(8, 1), (32, 1), (33, 2), (64, 4), (224, 16)])
def test_larger_images_are_made_in_more_equal_shares(
    size: int, shares: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dataclasses.replace(SPEC, size=size)
    images, batches = images_of(spec, monkeypatch)
    assert images.shape == (HELD_OUT_IMAGES, 1, size, size)
    assert batches == [HELD_OUT_IMAGES // shares] * shares


def test_shares_change_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    state = DfqGenerator(SMALL, SPEC).state_dict()
    together = held_out_images([state], [SPEC], settings(generator=SMALL))
    monkeypatch.setattr(synthesis, "LARGEST_AT_ONCE", 2)
    apart = held_out_images([state], [SPEC], settings(generator=SMALL))
    assert (together.int() - apart.int()).abs().max() <= 1
    assert len(together.unique(dim=0)) > HELD_OUT_IMAGES // 2
