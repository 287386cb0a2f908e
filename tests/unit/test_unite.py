"""The parties' images become union batches with one copy."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from actors import union
from actors.party import Iteration
from tests.tiny import CPU


def outputs() -> list[Iteration]:
    """Two union batches of three images: two of the first actor, one of the second."""
    numbers = np.random.default_rng(0)
    images = [numbers.random((2, share, 1, 4, 4), dtype=np.float32) for share in (2, 1)]
    for one in images:
        one.flags.writeable = False  # As in the object store.
    return [{"iteration": 0, "images": one, "metrics": [], "checksum": None} for one in images]


def test_the_images_of_all_actors_stand_one_after_the_other() -> None:
    given = outputs()
    first, second = (torch.tensor(one["images"]) for one in given)
    united = union.unite(given, CPU)
    assert torch.equal(united, torch.cat([first, second], dim=1))
    assert united.is_contiguous()


def test_for_a_gpu_they_are_put_together_in_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    place, gpu = np.empty((2, 3, 1, 4, 4), dtype=np.float32), torch.device("cuda")
    calls: list[Any] = []

    def empty(shape: tuple[int, ...], **options: Any) -> Any:
        calls.append((shape, options))
        return SimpleNamespace(numpy=lambda: place, to=lambda *to, **how: calls.append((to, how)))

    monkeypatch.setattr(torch, "empty", empty)
    given = outputs()
    union.unite(given, gpu)
    assert calls == [
        (place.shape, {"dtype": torch.float32, "pin_memory": True}),
        ((gpu,), {"non_blocking": True}),
    ]
    assert np.array_equal(place, np.concatenate([one["images"] for one in given], axis=1))
