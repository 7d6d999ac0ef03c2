"""Augmentation of batches against the definition of each operation."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as reference

from sparsekit.data.augment import cutout, random_crop, random_flip, random_rotation

OPERATIONS = [
    random_crop,
    random_flip,
    cutout,
    lambda images, generator: random_crop(images, generator, padding=2, mode="reflect"),
    lambda images, generator: random_rotation(images, generator, degrees=20),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(*shape: int) -> torch.Tensor:
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator(99))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_same_draws_same_images_other_draws_others_input_untouched(operation):
    images = random_images(16, 3, 12, 12)
    before = images.clone()
    once, twice = operation(images, generator(1)), operation(images, generator(1))
    assert torch.equal(once, twice)
    assert not torch.equal(once, operation(images, generator(2)))
    assert torch.equal(images, before)
    assert once.dtype == torch.uint8
    assert once.shape == images.shape


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize(("height", "width", "padding"), [(8, 8, 1), (6, 9, 2)])
def test_crops_are_windows_of_the_padded_image_and_all_occur(mode, height, width, padding):
    one = random_images(1, 2, height, width)
    images = one.expand(600, -1, -1, -1)
    padded = F.pad(one.float(), (padding,) * 4, mode=mode).to(torch.uint8)[0]
    num_offsets = 2 * padding + 1
    windows = {
        (top, left): padded[:, top : top + height, left : left + width]
        for top in range(num_offsets)
        for left in range(num_offsets)
    }
    counts = dict.fromkeys(windows, 0)
    for crop in random_crop(images, generator(), padding=padding, mode=mode):
        places = [place for place, window in windows.items() if torch.equal(crop, window)]
        assert len(places) == 1
        counts[places[0]] += 1
    assert min(counts.values()) > 0.3 * 600 / num_offsets**2


def test_crop_uses_its_own_offset_for_each_image_and_the_same_for_its_channels():
    images = random_images(50, 1, 8, 8).expand(-1, 3, -1, -1)
    crops = random_crop(images, generator(), padding=3)
    assert torch.equal(crops[:, 0], crops[:, 2])
    padded = F.pad(images, (3,) * 4)
    for crop, image in zip(crops, padded, strict=True):
        windows = image[0].unfold(0, 8, 1).unfold(1, 8, 1).reshape(-1, 8, 8)
        assert (windows == crop[0]).all(dim=(1, 2)).any()


def test_no_padding_no_change():
    images = random_images(4, 3, 8, 8)
    for mode in ("constant", "reflect"):
        assert torch.equal(random_crop(images, generator(), padding=0, mode=mode), images)


def test_flips_are_exact_and_happen_half_of_the_time():
    images = random_images(400, 3, 5, 7)
    out = random_flip(images, generator())
    kept = (out == images).flatten(1).all(1)
    flipped = (out == images.flip(-1)).flatten(1).all(1)
    assert (kept ^ flipped).all()
    assert 160 < kept.sum() < 240
    assert torch.equal(random_flip(images, generator(), probability=1), images.flip(-1))
    assert torch.equal(random_flip(images, generator(), probability=0), images)


def test_rotation_is_that_of_torchvision():
    images = random_images(6, 3, 15, 11)
    out = random_rotation(images, generator(5), degrees=40)
    angles = (2 * torch.rand(6, generator=generator(5)) - 1) * 40
    for image, turned, angle in zip(images, out, angles.tolist(), strict=True):
        differing = (reference.rotate(image, angle) != turned).float().mean()
        # Pixels exactly between two neighbours may round either way.
        assert differing < 0.02
    assert angles.std() > 5
    assert torch.equal(random_rotation(images, generator(), degrees=0), images)


@pytest.mark.parametrize("size", [1, 4, 5])
def test_cutout_covers_one_square_centred_anywhere(size):
    images = random_images(500, 3, 8, 8)
    out = cutout(images, generator(), size=size, fill=(0,))
    covered = (out == 0).all(1)
    assert torch.equal(out * ~covered[:, None], images * ~covered[:, None])
    heights, widths = covered.any(2).sum(1), covered.any(1).sum(1)
    assert torch.equal(covered.flatten(1).sum(1), heights * widths)
    assert heights.max() == widths.max() == size
    assert covered.any(0).all()


def test_cutout_fills_each_channel_with_its_value():
    out = cutout(random_images(4, 3, 8, 8), generator(), size=16, fill=(10, 20, 30))
    assert torch.equal(out[0, :, 4, 4], torch.tensor([10, 20, 30], dtype=torch.uint8))


@pytest.mark.parametrize(
    ("operation", "options", "message"),
    [
        (random_crop, {"mode": "wrap"}, "'constant' or 'reflect'"),
        (random_crop, {"padding": -1}, "padding=-1"),
        (random_crop, {"padding": 8, "mode": "reflect"}, "less than 8"),
        (random_flip, {"probability": 1.5}, "probability=1.5"),
        (random_rotation, {"degrees": -1}, "degrees=-1"),
        (cutout, {"size": 0}, "size=0"),
        (cutout, {"fill": (1, 2)}, "one per channel"),
    ],
)
def test_mistakes_are_named(operation, options, message):
    with pytest.raises(ValueError, match=message):
        operation(random_images(2, 3, 8, 8), generator(), **options)
