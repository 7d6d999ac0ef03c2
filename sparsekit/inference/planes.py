"""Where a convolution finds its inputs: images in planes, and how they are read.

Images lie channel by channel, samples innermost: [C][H][W][N], as tensors of shape [N, C, H, W]
with those strides; for one sample that is the usual layout. What output p reads through one weight
lies at a constant distance from p, once the borders are zeros in memory and every stride-th row and
column has a plane of its own. So every convolution is one product; its columns are the positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsekit.inference.memory import empty
from sparsekit.inference.packed import odd_lines
from sparsekit.inference.rows import SparseRows

Pair = tuple[int, int]
Size = tuple[int, int, int, int]
Runs = tuple[int, int, int, int, int]
"""How columns lie, see `sparsekit_planes`."""

NARROWEST = 8
"""Columns that kernels read at least."""

LONG_RUN = 112
"""Rows of an image with so many columns are runs of their own; shorter ones are joined."""

_FARTHEST = 2**31 - 1
"""Numbers in a copy with borders at most: offsets in it have 32 bits."""


@dataclass(frozen=True)
class Shape:
    """What a convolution is: [out, channels / groups, *kernel_size] with these settings."""

    channels: int
    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def out_size(self, height: int, width: int) -> Pair:
        """Return height and width of the outputs; ValueError if there are none."""
        size = [
            (extent + 2 * p - d * (k - 1) - 1) // s + 1
            for extent, k, s, p, d in zip(
                (height, width), self.kernel_size, self.stride, self.padding, self.dilation,
                strict=True,
            )
        ]  # fmt: skip
        if min(size) < 1:
            raise ValueError(f"an image of {height}x{width} is too small for {self}")
        return size[0], size[1]

    @property
    def reads_in_place(self) -> bool:
        """Return whether an output reads its own position alone."""
        return self.kernel_size == self.stride == (1, 1) and self.padding == (0, 0)


@dataclass(frozen=True)
class Reading:
    """How a convolution reads images of one size.

    `copied`: columns of a copy with borders, 0 if inputs are read where they are; `halo`: arguments
    it is made with; `steps`: from phase to phase, row to row and column to column of it.
    """

    runs: Runs
    copied: int = 0
    halo: tuple[int, ...] = ()
    steps: tuple[int, int, int] = (0, 0, 0)

    @property
    def is_whole(self) -> bool:
        """Return whether all columns are one run, kept whole."""
        number, length, _, segment, stride = self.runs
        return number == 1 and segment in (length, stride)

    @property
    def has_gaps(self) -> bool:
        """Return whether a copy has every k-th row or column alone, or in another place."""
        return self.halo[2:4] != (1, 1)

    @property
    def by_lines(self) -> tuple[int, int, int]:
        """Return how many lines of how many columns there are, and how far apart they begin.

        (0, 0, 0) where lines are joined that have borders between them.
        """
        number, length, step, segment, _ = self.runs
        return (number, length, step) if segment == length else (0, 0, 0)

    def offsets(self, rows: SparseRows, shape: Shape) -> Tensor | None:
        """Return how far from its position an output reads through each weight, int32 [kept].

        None where that is the number of the column times the distance of planes.
        """
        if not self.copied:
            return None
        return offsets(rows, shape, self.steps, self.halo[5], self.copied)


def reading(shape: Shape, size: tuple[int, int, int]) -> Reading:
    """Return how images of [N, H, W] = size are read; ValueError for too many at once."""
    n, height, width = size
    out_height, out_width = shape.out_size(height, width)
    length = height * width * n
    if shape.reads_in_place and shape.groups == 1 and length >= NARROWEST:
        return Reading((1, length, 0, length, length))
    halo, steps, columns = bordered(shape, size, out_width)
    pitch = odd_lines(columns)
    if shape.channels * pitch > _FARTHEST:
        raise ValueError(
            f"{n} images of {height}x{width} with {shape.channels} channels are too many at "
            f"once for a convolution: at most {_FARTHEST} numbers with borders, run fewer"
        )
    return Reading(_runs(steps[1], out_height, out_width * n), pitch, halo, steps)


def bordered(
    shape: Shape, size: tuple[int, int, int], out_width: int
) -> tuple[tuple[int, ...], tuple[int, int, int], int]:
    """Return the arguments of a copy with borders; its steps from phase to phase, row to row and
    column to column; and how many columns it has in all."""
    n, height, width = size
    phases = tuple(
        min(s, 1 + max((k * d) % s for k in range(extent)))
        for s, d, extent in zip(shape.stride, shape.dilation, shape.kernel_size, strict=True)
    )
    top, left = shape.padding
    step_rows, step_columns = shape.stride
    lines = -(-(height + 2 * top) // step_rows)
    # The zeros right of a row are those left of the next one.
    shared = max(width + left, out_width)
    pitch = shared if step_columns == 1 else -(-(width + 2 * left) // step_columns)
    steps = (lines * pitch * n, pitch * n, n)
    columns = phases[0] * phases[1] * steps[0] + left * n + NARROWEST
    return (top, left, step_rows, step_columns, *phases, lines, pitch), steps, columns


def _runs(step: int, lines: int, columns: int) -> Runs:
    """Return runs for so many lines of outputs: each by itself, or those joined that are short.

    So are lines without borders between them.
    """
    if step != columns and (columns >= LONG_RUN or lines == 1):
        return lines, columns, step, columns, columns
    return 1, (lines - 1) * step + columns, 0, columns, step


def offsets(
    rows: SparseRows, shape: Shape, steps: tuple[int, int, int], phase_columns: int, pitch: int
) -> Tensor:
    """Return how far from its position an output reads through each weight, int32 [kept].

    `steps`: from phase to phase, row to row, column to column.
    """
    kernel_rows, kernel_columns = shape.kernel_size
    channel, tap = _divided(rows.columns.long(), kernel_rows * kernel_columns)
    y, x = _divided(tap, kernel_columns)
    y, x = y * shape.dilation[0], x * shape.dilation[1]
    phase = y % shape.stride[0] * phase_columns + x % shape.stride[1]
    group = rows.row_numbers() // (rows.num_rows // shape.groups)
    channel = channel + group * (shape.channels // shape.groups)
    where = phase * steps[0] + y // shape.stride[0] * steps[1] + x // shape.stride[1] * steps[2]
    return (channel * pitch + where).to(torch.int32)


def _divided(number: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    return number // divisor, number % divisor


def in_planes(x: Tensor) -> Tensor:
    """Return x [N, C, H, W] with samples innermost and rows side by side; x itself if it is so."""
    n, channels, height, width = x.shape
    sample, plane, row, column = x.stride()
    if (
        column == n
        and row == width * n
        and plane >= max(height * row, NARROWEST)
        and (n == 1 or sample == 1)
    ):
        return x
    if n > 1 and x.is_contiguous(memory_format=torch.channels_last):
        x = x.contiguous()  # in two steps, each of which moves whole lines, twice as fast
    copied = empty_images(*images(n, channels, height, width))
    return copied.copy_(x)


def empty_images(size: Size, strides: Size) -> Tensor:
    return empty(size[1] * strides[1]).as_strided(size, strides)


def images(n: int, channels: int, height: int, width: int) -> tuple[Size, Size]:
    """Return size and strides of images as kernels lay them out."""
    strides = (1, odd_lines(height * width * n), width * n, n)
    return (n, channels, height, width), strides
