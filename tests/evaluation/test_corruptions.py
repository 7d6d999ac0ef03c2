"""Corruptions: the parameters of CIFAR-10-C, a generated set pinned by digest, seeds per image."""

import hashlib

import numpy as np
import pytest
from numpy.random import RandomState
from scipy import ndimage

from sparsekit.evaluation.corruptions import CORRUPTIONS, SEVERITIES, _zoomed, corrupted, levels
from sparsekit.evaluation.textures import plasma, sampled

SQUARE = np.array([[10, 200], [90, 250]], dtype=np.uint8).reshape(1, 2, 2, 1)
DIGESTS = {
    "gaussian_noise": "d2ae067fed30 4fb77cddf76e",
    "shot_noise": "5147bde72441 de992d7719f0",
    "impulse_noise": "7f191410d777 129d199c86e8",
    "defocus_blur": "378da4bda3a9 0e4fb1a744ba",
    "glass_blur": "a2c17e47866f 9e90fa62b53a",
    "zoom_blur": "9ce64d754292 8dbc3f2e9e11",
    "fog": "153d767b72e6 c1ae3ed4420f",
    "brightness": "a43327c0a98a 85b3812f7055",
    "contrast": "73045ffbb75d 270890c0b2bf",
    "elastic_transform": "d47be1db678d 2c8b4e9ab93c",
    "pixelate": "c0667a39f47b ab82b8d548ad",
}


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    """Three colour images of 32x32, and three grey ones of 28x28."""
    draw = RandomState(0)
    colour, grey = (draw.randint(0, 256, shape) for shape in ((3, 32, 32, 3), (3, 28, 28, 1)))
    return colour.astype(np.uint8), grey.astype(np.uint8)


@pytest.mark.parametrize("name", DIGESTS)
def test_the_generated_set_is_the_same_for_ever(
    name: str, images: tuple[np.ndarray, np.ndarray]
) -> None:
    found = []
    for few in images:
        every = [corrupted(few, name, one, seed=0, places=[0, 1, 7]) for one in SEVERITIES]
        assert all(one.shape == few.shape and one.dtype == np.uint8 for one in every)
        found.append(hashlib.sha256(b"".join(one.tobytes() for one in every)).hexdigest()[:12])
    assert " ".join(found) == DIGESTS[name]


def test_jpeg_loses_more_the_lower_its_quality(images: tuple[np.ndarray, np.ndarray]) -> None:
    """Versions of its library differ by some levels, so that nothing exact is asked for."""
    assert set(CORRUPTIONS) - set(DIGESTS) == {"jpeg_compression"}
    for few, expected in zip(images, ((47, 53.3), (6.1, 18.3)), strict=True):
        lost = [
            np.abs(corrupted(few, "jpeg_compression", one, seed=0, places=range(3)) - 1.0 * few)
            for one in SEVERITIES
        ]
        means = [float(one.mean()) for one in lost]
        assert means == sorted(means)
        assert (means[0], means[-1]) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("name", "severity", "expected"),
    [
        ("contrast", 3, [[86, 162], [118, 182]]),
        ("brightness", 2, [[35, 225], [115, 255]]),  # + 25.5, cut off
        ("brightness", 5, [[86, 255], [166, 255]]),
    ],
)
def test_literal_pixels(name: str, severity: int, expected: list[list[int]]) -> None:
    found = corrupted(SQUARE, name, severity, seed=0, places=[0])
    assert found[0, :, :, 0].tolist() == expected


def test_brightness_keeps_hue_and_saturation() -> None:
    colour = np.array([51, 102, 0], dtype=np.uint8).reshape(1, 1, 1, 3)
    # The value 0.4 becomes 0.6; a black pixel has no hue, and becomes grey.
    both = np.concatenate([colour, 0 * colour])
    found = corrupted(both, "brightness", 4, seed=0, places=[0, 1])
    assert found.reshape(2, 3).tolist() == [[76, 153, 0], [51, 51, 51]]


def test_the_disk_of_defocus() -> None:
    """Severity 5: nine equal pixels, hardly smoothed; 4: five of them."""
    point = np.zeros((1, 33, 33, 1), dtype=np.uint8)
    point[0, 16, 16] = 255
    for severity, weight, num in ((4, 51, 5), (5, 28, 9)):
        blurred = corrupted(point, "defocus_blur", severity, seed=0, places=[0])
        assert int((blurred >= weight - 1).sum()) == num


@pytest.mark.parametrize("name", ["gaussian_noise", "glass_blur", "fog", "elastic_transform"])
def test_what_is_drawn_is_of_the_image_alone(
    name: str, images: tuple[np.ndarray, np.ndarray]
) -> None:
    (colour, _), places = images, [3, 1, 4]
    together = corrupted(colour, name, 4, seed=1, places=places)
    alone = corrupted(colour[1:2], name, 4, seed=1, places=[1])
    assert np.array_equal(together[1:2], alone)
    for others in ({"seed": 2, "places": [1]}, {"seed": 1, "places": [2]}):
        assert not np.array_equal(corrupted(colour[1:2], name, 4, **others), alone)


@pytest.mark.parametrize("factor", [1.0, 1.06, 1.13, 1.25])
def test_zooms_are_those_of_scipy(factor: float) -> None:
    images = RandomState(0).uniform(size=(2, 32, 32, 1))
    used = int(np.ceil(32 / factor))
    first = (32 - used) // 2
    middle = images[:, first : first + used, first : first + used]
    large = ndimage.zoom(middle, (1, factor, factor, 1), order=1)
    trim = (large.shape[1] - 32) // 2
    expected = large[:, trim : trim + 32, trim : trim + 32]
    assert np.allclose(_zoomed(images, factor), expected, atol=1e-12)


def test_a_plasma_fills_its_range_and_wraps() -> None:
    field = plasma(32, 2.0, RandomState(0))
    assert (field.min(), field.max(), field.shape) == (0, 1, (32, 32))
    inside = np.abs(np.diff(field, axis=0)).mean()
    assert np.abs(field[0] - field[-1]).mean() < 3 * inside


def test_places_between_pixels_and_outside() -> None:
    image = np.arange(4.0).reshape(1, 1, 4, 1)
    columns = np.array([[[0.5, -1.0, 4.0, 4.5]]])
    for edge_twice, expected in ((False, [0.5, 1, 2, 1.5]), (True, [0.5, 0, 3, 2.5])):
        found = sampled(image, np.zeros((1, 1, 4)), columns, edge_twice=edge_twice)
        assert found.reshape(-1).tolist() == expected


def test_levels_are_cut_off_but_not_by_the_last_bit() -> None:
    assert levels(np.array([0.1 + 0.2, 0.3, 0.9999, -1, 2])).tolist() == [76, 76, 254, 0, 255]
    assert levels(np.array([76.9999999999 / 255])).tolist() == [77]


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="corruption 'snow': there are gaussian_noise"):
        corrupted(SQUARE, "snow", 1, seed=0, places=[0])
    with pytest.raises(ValueError, match="severity=6: there are 1 to 5"):
        corrupted(SQUARE, "contrast", 6, seed=0, places=[0])
