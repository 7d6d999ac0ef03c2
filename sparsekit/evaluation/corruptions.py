"""Common corruptions of small images, in five severities: like CIFAR-10-C, drawn on the fly.

After Hendrycks & Dietterich 2019, with the parameters that made CIFAR-10-C. It is not that data
set: its draws were not seeded and are not ours. Three of its 15 corruptions are not here
(`LEFT_OUT`): motion blur and snow are ImageMagick's, frost is six photographs.

Images are uint8 [N, H, W, C] of 1 or 3 channels. What is drawn for an image depends on the seed,
its place in the data set, the corruption and the severity, so that neither the size of a batch nor
the other corruptions matter. Generators are NumPy's RandomState, whose numbers are promised to stay
the same.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from sparsekit.core.seeds import derive
from sparsekit.evaluation.textures import elastic, fog

Images = NDArray[np.uint8]
Pixels = NDArray[np.float64]
Settings = tuple[float, ...]
Corruption = Callable[[Pixels, Settings, Sequence[RandomState]], Pixels]
"""(pixels from 0 to 1, settings of a severity, a generator of each image) -> pixels."""

SIDE = 32.0
"""The side that lengths in pixels are given for; those of other images are in proportion."""
SEVERITIES = (1, 2, 3, 4, 5)
LEFT_OUT = ("motion_blur", "snow", "frost")


def gaussian_noise(pixels: Pixels, settings: Settings, draws: Sequence[RandomState]) -> Pixels:
    """Add normal noise of a standard deviation."""
    (std,) = settings
    return pixels + std * np.stack([draw.normal(size=pixels.shape[1:]) for draw in draws])


def shot_noise(pixels: Pixels, settings: Settings, draws: Sequence[RandomState]) -> Pixels:
    """Count photons, `rate` of them at a pixel of 1."""
    (rate,) = settings
    counts = [draw.poisson(one * rate) for one, draw in zip(pixels, draws, strict=True)]
    return np.stack(counts) / rate


def impulse_noise(pixels: Pixels, settings: Settings, draws: Sequence[RandomState]) -> Pixels:
    """Set a share of all values to 0 or 1."""
    (share,) = settings
    drawn = np.stack([draw.uniform(size=(2, *pixels.shape[1:])) for draw in draws])
    return np.where(drawn[:, 0] <= share, drawn[:, 1] <= 0.5, pixels)


def defocus_blur(pixels: Pixels, settings: Settings, draws: Sequence[RandomState]) -> Pixels:
    """Blur by a disk, whose edge is smoothed.

    The radius is in whole pixels for any side, because so small a disk cannot be scaled.
    """
    radius, smooth = settings
    rows, columns = np.mgrid[-2:3, -2:3]
    disk = (rows**2 + columns**2 <= radius**2).astype(float)
    taps = np.exp(-(np.arange(-1, 2) ** 2) / (2 * _scaled(smooth, pixels) ** 2))
    kernel = ndimage.correlate(disk / disk.sum(), np.outer(taps, taps) / taps.sum() ** 2)
    return ndimage.correlate(pixels, kernel[None, :, :, None], mode="mirror")


def glass_blur(pixels: Pixels, settings: Settings, draws: Sequence[RandomState]) -> Pixels:
    """Swap pixels with neighbours, between two blurs.

    The original means to swap and copies, by views of an array; here they are swapped.
    """
    sigma, reach, rounds = _scaled(settings[0], pixels), int(settings[1]), int(settings[2])
    height, width = pixels.shape[1:3]
    mixed = _gaussian(pixels, sigma)
    places = [
        (row, column)
        for row in range(height - reach, reach, -1)
        for column in range(width - reach, reach, -1)
    ]
    moves = np.stack([draw.randint(-reach, reach, (rounds, len(places), 2)) for draw in draws])
    every = np.arange(len(pixels))
    for turn in range(rounds):
        for index, (row, column) in enumerate(places):
            to_row, to_column = row + moves[:, turn, index, 1], column + moves[:, turn, index, 0]
            kept = mixed[:, row, column].copy()
            mixed[:, row, column] = mixed[every, to_row, to_column]
            mixed[every, to_row, to_column] = kept
    return _gaussian(mixed, sigma)


def zoom_blur(pixels: Pixels, settings: Settings, draws: Sequence[RandomState]) -> Pixels:
    """Average the image with zooms of it by 1, 1.01, ... ; the first stands for itself as well."""
    (count,) = settings
    total = pixels.copy()
    for step in range(int(count)):
        total += _zoomed(pixels, 1 + 0.01 * step)
    return total / (count + 1)


def brightness(pixels: Pixels, settings: Settings, draws: Sequence[RandomState]) -> Pixels:
    """Add to the value of hue, saturation and value; of grey images that is the pixel itself."""
    (added,) = settings
    value = pixels.max(3, keepdims=True)
    lighter = np.minimum(value + added, 1)
    return np.where(value > 0, pixels * lighter / np.where(value > 0, value, 1), lighter)


def contrast(pixels: Pixels, settings: Settings, draws: Sequence[RandomState]) -> Pixels:
    """Shrink the distance of each pixel from the mean of its channel."""
    (factor,) = settings
    mean = pixels.mean((1, 2), keepdims=True)
    return (pixels - mean) * factor + mean


def pixelate(pixels: Pixels, settings: Settings, draws: Sequence[RandomState]) -> Pixels:
    """Make the image smaller by a factor, and large again."""
    (factor,) = settings
    height, width = pixels.shape[1:3]
    small = int(width * factor), int(height * factor)

    def again(image: Image.Image) -> Image.Image:
        box = Image.Resampling.BOX
        return image.resize(small, box).resize((width, height), box)

    return _by_pillow(pixels, again)


def jpeg_compression(pixels: Pixels, settings: Settings, draws: Sequence[RandomState]) -> Pixels:
    """Compress by JPEG of a quality; versions of the library differ by a few levels."""
    (quality,) = settings

    def again(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(quality))
        return Image.open(file)

    return _by_pillow(pixels, again)


CORRUPTIONS: Mapping[str, tuple[Corruption, tuple[Settings, ...]]] = {
    "gaussian_noise": (gaussian_noise, ((0.04,), (0.06,), (0.08,), (0.09,), (0.1,))),
    "shot_noise": (shot_noise, ((500,), (250,), (100,), (75,), (50,))),
    "impulse_noise": (impulse_noise, ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,))),
    "defocus_blur": (defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "glass_blur": (
        glass_blur,
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    ),
    "zoom_blur": (zoom_blur, ((7,), (12,), (16,), (21,), (26,))),
    "fog": (fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": (brightness, ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,))),
    "contrast": (contrast, ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,))),
    "elastic_transform": (
        elastic,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
    "pixelate": (pixelate, ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,))),
    "jpeg_compression": (jpeg_compression, ((80,), (65,), (58,), (50,), (40,))),
}
"""By name: what is done, and its settings at severities 1 to 5, those of CIFAR-10-C."""


def corrupted(
    images: Images, name: str, severity: int, *, seed: int, places: Sequence[int]
) -> Images:
    """Return images uint8 [N, H, W, C] under one corruption; `places`: theirs in the data set.

    ValueError for an unknown corruption, or a severity that is not 1 to 5.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"corruption {name!r}: there are {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity={severity}: there are 1 to 5")
    function, settings = CORRUPTIONS[name]
    draws = [
        RandomState(derive(seed, "corruptions", name, severity, place) % 2**32) for place in places
    ]
    return levels(function(images / 255.0, settings[severity - 1], draws))


def levels(pixels: Pixels) -> Images:
    """Return pixels from 0 to 1 as whole levels, cut off as in CIFAR-10-C.

    Rounded to a millionth of a level before, or the last bit of a number would decide.
    """
    return np.floor(np.round(np.clip(pixels, 0, 1) * 255, 6)).astype(np.uint8)


def _scaled(length: float, pixels: Pixels) -> float:
    return length * min(pixels.shape[1:3]) / SIDE


def _gaussian(pixels: Pixels, sigma: float) -> Pixels:
    blurred = ndimage.gaussian_filter(pixels, (0, sigma, sigma, 0), mode="nearest")
    return levels(blurred) / 255.0


def _zoomed(pixels: Pixels, factor: float) -> Pixels:
    """Return the middle of the images, magnified to their size, bilinear."""
    down, across = (_magnification(side, factor) for side in pixels.shape[1:3])
    by_rows = np.tensordot(pixels, down, axes=(1, 1))  # [N, W, C, rows]
    return np.tensordot(by_rows, across, axes=(1, 1)).transpose(0, 2, 3, 1)


def _magnification(side: int, factor: float) -> Pixels:
    """Return the weights [side, side] of a line in the middle of it, `factor` times as long."""
    num_used = int(np.ceil(side / factor))
    num_large = round(num_used * factor)
    first = (side - num_used) // 2
    shown = np.arange(side) + (num_large - side) // 2
    places = shown * (num_used - 1) / max(num_large - 1, 1) + first
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(side)))


def _by_pillow(pixels: Pixels, change: Callable[[Image.Image], Image.Image]) -> Pixels:
    images = np.round(pixels * 255).astype(np.uint8)
    grey = images.shape[3] == 1
    changed = [np.asarray(change(Image.fromarray(one[:, :, 0] if grey else one))) for one in images]
    return np.stack(changed).reshape(images.shape) / 255.0
