"""How rows of planes are laid out in memory."""

from __future__ import annotations

from torch import Tensor

from sparsekit.inference.memory import empty

_LINE = 16
"""Floats of a cache line."""


def odd_lines(floats: int) -> int:
    """Return a distance of at least `floats` between planes that is an odd number of cache lines.

    Powers of two would put every plane into the same few sets of a cache.

    >>> [odd_lines(floats) for floats in (1, 16, 17, 33)]
    [16, 16, 48, 48]
    """
    return (-(-floats // _LINE) | 1) * _LINE


def planes(channels: int, columns: int) -> Tensor:
    """Return uninitialised planes [channels, columns], an odd number of cache lines apart."""
    pitch = odd_lines(columns)
    return empty(channels * pitch).as_strided((channels, columns), (pitch, 1))
