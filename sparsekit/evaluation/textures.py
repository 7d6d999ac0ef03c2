"""Two corruptions that need a field over the image: fog, and elastic displacements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[np.float64]
ROUGHNESS = 100.0


def fog(pixels: Pixels, settings: tuple[float, ...], draws: Sequence[RandomState]) -> Pixels:
    """Add a plasma of a strength to pixels [N, H, W, C], and darken what it brightened."""
    strength, decay = settings
    height, width = pixels.shape[1:3]
    side = 2 ** int(np.ceil(np.log2(max(height, width))))
    clouds = np.stack([plasma(side, decay, draw)[:height, :width] for draw in draws])
    brightest = pixels.max((1, 2, 3), keepdims=True)
    return (pixels + strength * clouds[..., None]) * brightest / (brightest + strength)


def plasma(side: int, decay: float, draw: RandomState) -> Pixels:
    """Return a fractal [side, side] from 0 to 1 by diamonds and squares, periodic; a power of two.

    Each halving of the step divides the roughness by `decay`.
    """
    field = np.zeros((side, side))
    step, rough = side, ROUGHNESS

    def mean_of(four: Pixels) -> Pixels:
        return four / 4 + rough * draw.uniform(-rough, rough, four.shape)

    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        across = corners + np.roll(corners, -1, 0)
        field[half::step, half::step] = mean_of(across + np.roll(across, -1, 1))
        middles = field[half::step, half::step]
        beside = middles + np.roll(middles, 1, 0) + corners + np.roll(corners, -1, 1)
        field[::step, half::step] = mean_of(beside)
        below = middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 0)
        field[half::step, ::step] = mean_of(below)
        step, rough = half, rough / decay
    field -= field.min()
    return field / field.max()


def elastic(pixels: Pixels, settings: tuple[float, ...], draws: Sequence[RandomState]) -> Pixels:
    """Move three corners of pixels [N, H, W, C] at random, then each pixel by a smooth field.

    All lengths are shares of the side: of displacements, of their smoothness, of the corners.
    """
    side = min(pixels.shape[1:3])
    reach, smooth, jitter = (side * one for one in settings)
    moved = np.stack([draw.uniform(-jitter, jitter, (3, 2)) for draw in draws])
    pixels = sampled(pixels, *_before_affine(pixels.shape[1:3], moved), edge_twice=False)
    if not reach:
        return pixels
    drawn = np.stack([draw.uniform(-1, 1, (2, *pixels.shape[1:3])) for draw in draws])
    field = reach * ndimage.gaussian_filter(drawn, (0, 0, smooth, smooth), truncate=3)
    rows, columns = np.mgrid[: pixels.shape[1], : pixels.shape[2]]
    return sampled(pixels, rows + field[:, 1], columns + field[:, 0], edge_twice=True)


def _before_affine(shape: tuple[int, int], moved: Pixels) -> tuple[Pixels, Pixels]:
    """Return rows and columns [N, H, W] that come to lie at each pixel.

    `moved` [N, 3, 2] is how far three corners of the middle go.
    """
    middle, reach = np.array(shape) // 2, min(shape) // 3
    corners = middle + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    ends = np.concatenate([corners + moved, np.ones((len(moved), 3, 1))], axis=2)
    back = np.linalg.solve(ends, np.broadcast_to(corners.astype(float), moved.shape))
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    places = np.stack([columns, rows, np.ones(shape)], axis=-1)
    found = np.einsum("hwk,nkc->nhwc", places, back)
    return found[..., 1], found[..., 0]


def sampled(pixels: Pixels, rows: Pixels, columns: Pixels, *, edge_twice: bool) -> Pixels:
    """Return pixels [N, H, W, C] at places [N, H, W], bilinear; outside, the image is mirrored.

    `edge_twice`: whether its edge is in the mirror as well.
    """
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    height, width = pixels.shape[1:3]
    every = np.arange(len(pixels))[:, None, None]

    def at(row: NDArray[np.int_], column: NDArray[np.int_]) -> Pixels:
        found = (_mirrored(row, height, edge_twice), _mirrored(column, width, edge_twice))
        return pixels[every, *found]

    above = at(top, left) * (1 - right) + at(top, left + 1) * right
    under = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return above * (1 - down) + under * down


def _mirrored(place: NDArray[np.int_], side: int, edge_twice: bool) -> NDArray[np.int_]:
    period = 2 * side if edge_twice else max(1, 2 * (side - 1))
    within = place % period
    return np.where(within < side, within, period - edge_twice - within)
