"""A convolution as rows times columns: where each weight finds its inputs.

Images lie channel by channel, samples innermost: [C][H][W][N], as tensors of shape [N, C, H, W]
with those strides; for one sample that is the usual layout. What output p reads through one weight
lies at a constant distance from p, once the borders are zeros in memory and every stride-th row and
column has a plane of its own. So every convolution is one product; its columns are the positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsekit.inference.library import Library, address
from sparsekit.inference.packed import Packed, odd_lines, packed, planes
from sparsekit.inference.rows import SparseRows

Pair = tuple[int, int]

_LONG_RUN = 112
"""Rows of an image with so many columns are runs of their own; shorter ones are joined."""

_NARROWEST = 8
"""Columns that kernels read at least."""


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


@dataclass(frozen=True, eq=False)
class Plan:
    """How one weight meets images of one size: arguments of the kernels."""

    weight: Packed
    in_place: bool
    halo: tuple[int, ...]
    columns: int
    runs: tuple[int, int, int, int, int]
    out: tuple[int, int]


def plan(rows: SparseRows, shape: Shape, size: tuple[int, int, int]) -> Plan:
    """Return how `rows` meet images of [N, H, W] = size."""
    n, height, width = size
    out_height, out_width = out = shape.out_size(height, width)
    if shape.reads_in_place and shape.groups == 1 and height * width * n >= _NARROWEST:
        length = height * width * n
        return Plan(packed(rows), True, (), length, (1, length, 0, length, length), out)
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
    columns = phases[0] * phases[1] * lines * pitch * n + left * n + _NARROWEST
    halo = (height, width, n, top, left, step_rows, step_columns, *phases, lines, pitch)
    offsets = _offsets(rows, shape, (lines * pitch * n, pitch * n, n), phases[1], columns)
    row = out_width * n
    if row >= _LONG_RUN or out_height == 1:
        runs = (out_height, row, pitch * n, row, row)
    else:
        runs = (1, (out_height - 1) * pitch * n + row, 0, row, pitch * n)
    return Plan(packed(rows, offsets), False, halo, columns, runs, out)


def _offsets(
    rows: SparseRows, shape: Shape, steps: tuple[int, int, int], phase_columns: int, columns: int
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
    return (channel * odd_lines(columns) + where).to(torch.int32)


def _divided(number: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    return number // divisor, number % divisor


class Convolution:
    """A sparse weight bound to its kernels; images of every size are planned once."""

    def __init__(self, library: Library, rows: SparseRows, shape: Shape, *, relu: bool) -> None:
        self._library, self._rows, self._shape, self._relu = library, rows, shape, int(relu)
        self._plans: dict[tuple[int, int, int], Plan] = {}

    def __call__(self, x: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
        """Return activation(convolution(x) + bias + residual) [N, out, H', W']."""
        n, channels, height, width = x.shape
        size = (n, height, width)
        if (found := self._plans.get(size)) is None:
            found = self._plans[size] = plan(self._rows, self._shape, size)
        threads = torch.get_num_threads()
        x = in_planes(x)
        start, pitch = x, x.stride(1)
        if not found.in_place:
            start = planes(channels, found.columns)
            self._library.functions.sparsekit_halo(
                x.data_ptr(), channels, *found.halo[:3], pitch, *found.halo[3:], start.data_ptr(),
                start.stride(0), threads,
            )  # fmt: skip
            pitch = 1
        out = planes(self._rows.num_rows, found.out[0] * found.out[1] * n)
        y = _as_images(out, n, found.out)
        if residual is not None:
            residual = in_planes(residual.expand(y.shape))
        failed = found.weight.function(self._library, "planes")(
            *found.weight.addresses, start.data_ptr(), pitch, *found.runs, out.data_ptr(),
            out.stride(0), address(bias), address(residual),
            0 if residual is None else residual.stride(1), self._relu, threads,
        )  # fmt: skip
        if failed:
            raise MemoryError("a convolution found no memory for its sums")
        return y


def in_planes(x: Tensor) -> Tensor:
    """Return x [N, C, H, W] with samples innermost and rows side by side; x itself if it is so."""
    n, channels, height, width = x.shape
    wanted = ((n, 1), (width, n), (height, width * n), (channels, height * width * n))
    strides = (x.stride(0), x.stride(3), x.stride(2))
    same = all(
        size == 1 or stride == step for (size, step), stride in zip(wanted, strides, strict=False)
    )
    if same and x.stride(1) >= max(height * width * n, _NARROWEST):
        return x
    if n > 1 and x.is_contiguous(memory_format=torch.channels_last):
        x = x.contiguous()  # in two steps, each of which moves whole lines, twice as fast
    copied = _as_images(planes(channels, height * width * n), n, (height, width))
    return copied.copy_(x)


def _as_images(out: Tensor, n: int, size: Pair) -> Tensor:
    height, width = size
    strides = (1, out.stride(0), width * n, n)
    return out.as_strided((n, out.shape[0], height, width), strides)
