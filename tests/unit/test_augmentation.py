"""Against torchvision's own functional transforms, and per image where torchvision is per batch."""

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop
from torchvision.transforms.v2 import functional as tv

from fusion import colour
from fusion.augmentation import Augmentation, _rotate, augment, crop_boxes, resized_crop
from fusion.pretraining import random_shift

IMAGES = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_resized_crop_and_flip_agree_with_torchvision() -> None:
    boxes = crop_boxes(16, 32, 0.8, stream())
    flips = torch.arange(16) % 2 == 0
    found = resized_crop(IMAGES, boxes, flips)
    for image, box, flip, mine in zip(IMAGES, boxes.int().tolist(), flips.tolist(), found, strict=True):
        expected = tv.resized_crop(image, *box, size=[32, 32], interpolation=InterpolationMode.BILINEAR)
        torch.testing.assert_close(
            mine, tv.horizontal_flip(expected) if flip else expected, atol=2e-5, rtol=0
        )


def test_rotation_agrees_with_torchvision() -> None:
    found = _rotate(IMAGES, 10.0, stream())
    angles = (2 * torch.rand(16, generator=stream()) - 1) * 10
    for image, angle, mine in zip(IMAGES, angles.tolist(), found, strict=True):
        expected = tv.rotate(image, angle)
        mirrored = tv.rotate(image, -angle)
        different = min(int((mine != one).any(0).sum()) for one in (expected, mirrored))
        assert different <= 5  # of 1024 pixels: ties between two nearest neighbours


def test_crop_boxes_have_torchvisions_law() -> None:
    torch.manual_seed(0)
    theirs = torch.tensor(
        [TorchvisionCrop.get_params(IMAGES[0], scale=[0.8, 1.0], ratio=[3 / 4, 4 / 3]) for _ in range(4000)]
    ).float()
    mine = crop_boxes(4000, 32, 0.8, stream())
    for column in range(4):
        grid = torch.arange(33.0)
        gap = (mine[:, column, None] <= grid).float().mean(0) - (
            theirs[:, column, None] <= grid
        ).float().mean(0)
        assert gap.abs().max() < 0.04  # two samples of 4000: three standard deviations


@pytest.mark.parametrize(
    ("transform", "low", "high"),
    [("brightness", 0.5, 1.5), ("contrast", 0.5, 1.5), ("saturation", 0.0, 2.0), ("hue", -0.5, 0.5)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_colour_transforms_agree_with_torchvision(
    transform: str, low: float, high: float, channels: int
) -> None:
    images = IMAGES[:, :channels].clone()
    images[0] = 0.5  # grey has no hue
    images[1, :, 0, 0] = 0.0
    factors = torch.linspace(low, high, 16)
    changes = {one.__name__: one for one in colour.transforms(channels)}
    assert len(changes) == (2 if channels == 1 else 4)  # What is left out changes nothing.
    found = changes[transform](images, factors.view(-1, 1, 1, 1)) if transform in changes else images
    theirs = getattr(tv, f"adjust_{transform}")
    for image, factor, mine in zip(images, factors.tolist(), found, strict=True):
        torch.testing.assert_close(mine, theirs(image, factor), atol=2e-6, rtol=0)


def test_every_image_has_its_own_draw() -> None:
    same = IMAGES[:1].expand(16, -1, -1, -1)
    augmented = augment(same, Augmentation(jitter_probability=1.0), stream())
    assert len({tuple(image.flatten().tolist()) for image in augmented}) == 16


def test_the_stream_decides_everything() -> None:
    torch.manual_seed(0)
    first = augment(IMAGES, Augmentation(), stream())
    torch.manual_seed(1)
    assert torch.equal(first, augment(IMAGES, Augmentation(), stream()))
    assert not torch.equal(first, augment(IMAGES, Augmentation(), stream(1)))


def test_switched_off_it_changes_nothing() -> None:
    off = Augmentation(rotation=0, crop=1, flip=0, jitter=0)
    assert torch.equal(augment(IMAGES, off, stream()), IMAGES)


def test_jitter_takes_about_its_probability_of_the_images() -> None:
    images = IMAGES.repeat(40, 1, 1, 1)
    changed = augment(images, Augmentation(rotation=0, crop=1, flip=0), stream()) != images
    assert 0.15 < changed.flatten(1).any(1).float().mean() < 0.25


def test_grey_images_are_augmented_too() -> None:
    assert augment(IMAGES[:, :1], Augmentation(jitter_probability=1.0), stream()).shape == (16, 1, 32, 32)


def test_random_shift_is_a_crop_of_the_padded_image() -> None:
    shifted = random_shift(IMAGES, 4, 0.5, stream())
    padded = torch.nn.functional.pad(IMAGES, (4, 4, 4, 4))
    for image, whole in zip(shifted, padded, strict=True):
        crops = [whole[:, y : y + 32, x : x + 32] for y in range(9) for x in range(9)]
        assert any(torch.equal(image, crop) or torch.equal(image, crop.flip(2)) for crop in crops)
    assert torch.equal(random_shift(IMAGES, 0, 0.0, stream()), IMAGES)
