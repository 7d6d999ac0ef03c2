"""What the hardware allows: bytes moved over measured bandwidth, multiply-adds over measured peak.

Both speeds are measured here, in a fraction of a second. What is read and multiplied at least says
how long a layer or a network must take, whatever the program; the slower of the two binds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsekit.measuring.timing import Clock, timed

LARGEST = 512 * 2**20
"""Bytes of the largest buffer that is read to measure bandwidth."""
SMALLEST = 2**18
PASS = 64 * 2**20
"""Bytes that one measurement of bandwidth reads at least: small buffers several times."""
REPEATS = 3
SIZE = 1024
"""Rows and columns of the matrices whose product measures multiply-adds."""


@dataclass(frozen=True)
class Work:
    """What must be done at least: bytes read or written, and products added up."""

    num_bytes: float
    multiply_adds: float


@dataclass(frozen=True)
class Speeds:
    """What this machine does in a second, on the threads in use."""

    bytes_read: float
    multiply_adds: float


@dataclass(frozen=True)
class Limit:
    """The shortest time there can be, and what it is spent on."""

    seconds: float
    bound_by: str


def limit(work: Work, speeds: Speeds) -> Limit:
    """Return the time that `work` takes at least.

    >>> limit(Work(num_bytes=20, multiply_adds=10), Speeds(bytes_read=10, multiply_adds=10))
    Limit(seconds=2.0, bound_by='memory')
    """
    reading = work.num_bytes / speeds.bytes_read
    multiplying = work.multiply_adds / speeds.multiply_adds
    if reading >= multiplying:
        return Limit(reading, "memory")
    return Limit(multiplying, "arithmetic")


def measure_speeds(num_bytes: float, clock: Clock) -> Speeds:
    """Measure both speeds on the threads in use, reading a buffer of so many bytes."""
    return Speeds(reading_speed(num_bytes, clock), multiplying_speed(clock))


def reading_speed(num_bytes: float, clock: Clock) -> float:
    """Return bytes per second that are read at most from a buffer of so many bytes.

    The buffer is read again and again: if it fits a cache, that cache's speed is measured, as is
    right for weights of that size that are used again and again. What reads fastest differs from
    size to size, so several operations are tried.
    """
    size = int(min(max(num_bytes, SMALLEST), LARGEST)) // SMALLEST * SMALLEST
    buffer = torch.ones(size // 4)
    calls = max(1, PASS // size)
    return size / min(
        timed(work, clock, calls)() for work in _readers(buffer) for _ in range(REPEATS)
    )


def _readers(buffer: Tensor) -> list[Callable[[], Tensor]]:
    matrix = buffer.view(256, -1)
    vector = torch.ones(matrix.shape[1])
    integers = buffer.view(torch.int32)
    return [
        buffer.sum,
        integers.max,
        lambda: torch.dot(buffer, buffer),
        lambda: torch.mv(matrix, vector),
    ]


def multiplying_speed(clock: Clock) -> float:
    """Return multiply-adds per second of float32 in the product of two large matrices."""
    first, second = torch.ones(SIZE, SIZE), torch.ones(SIZE, SIZE)
    return SIZE**3 / min(timed(lambda: first @ second, clock)() for _ in range(1 + REPEATS))
