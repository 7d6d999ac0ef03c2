"""Convolutions and pools of images in planes, see `planes`."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsekit.inference.blocking import BAND, Blocked, blocked
from sparsekit.inference.library import CWindows, Kernel, Library, address
from sparsekit.inference.memory import empty
from sparsekit.inference.planes import (
    NARROWEST,
    Pair,
    Reading,
    Runs,
    Shape,
    Size,
    empty_images,
    images,
    in_planes,
    reading,
)
from sparsekit.inference.rows import SparseRows

VECTORS = 8
"""Vectors of columns in a tile, as of the kernels."""

_NEAR = 40 * 1024
"""Bytes of inputs that stay in a first cache."""

_KEPT = 16
"""So many weights a row keeps in a block at least, on average: less does not pay for its sums."""

_FEWEST = 3
"""Fewer blocks do not pay for adding up their sums."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How one weight meets images of one size: what the kernels are called with."""

    weight: Blocked
    reading: Reading
    kernel: Kernel
    size: Size
    strides: Size


def plan(library: Library, rows: SparseRows, shape: Shape, size: tuple[int, int, int]) -> Plan:
    """Return how `rows` meet images of [N, H, W] = size."""
    n, height, width = size
    found = reading(shape, size)
    blocks = blocks_of(library, rows, shape, n, found.runs)
    where = found.offsets(rows, shape)
    weight = blocked(
        rows, blocks, band=BAND if blocks > 1 else max(1, rows.num_rows),
        taps=shape.kernel_size[0] * shape.kernel_size[1], offsets=where,
    )  # fmt: skip
    index = rows.columns if where is None else where
    kernel = library.function("planes", rows.values.dtype, index.dtype)
    out_size = shape.out_size(height, width)
    return Plan(weight, found, kernel, *images(n, rows.num_rows, *out_size))


def blocks_of(library: Library, rows: SparseRows, shape: Shape, n: int, runs: Runs) -> int:
    """Return in how many blocks of inputs a weight is multiplied by runs of columns.

    As many inputs as a first cache holds of a tile of columns, but no fewer than make rows keep
    enough weights in each block. One block where kernels pick columns from what they computed: from
    runs with gaps, and where vectors are so short that a last tile may be narrower than they take.
    """
    _, length, _, segment, stride = runs
    lanes = library.slicing.lanes
    if shape.groups > 1 or min(length, lanes) < NARROWEST or segment not in (length, stride):
        return 1
    taps = shape.kernel_size[0] * shape.kernel_size[1]
    tile = min(VECTORS * lanes, length)
    step, wide = shape.stride[1], shape.kernel_size[1]
    near = min(step, wide) * tile + (wide - 1) * shape.dilation[1] * n // step
    density = rows.kept / max(rows.num_rows * rows.num_columns, 1)
    channels = max(_NEAR / (4 * shape.kernel_size[0] * near), _KEPT / max(density * taps, 1e-9))
    blocks = round(shape.channels / channels)
    return blocks if blocks >= _FEWEST else 1


class Convolution:
    """A sparse weight bound to its kernels; images of every size are planned once."""

    def __init__(self, library: Library, rows: SparseRows, shape: Shape, *, relu: bool) -> None:
        self._library, self._rows, self._shape, self._relu = library, rows, shape, int(relu)
        self._plans: dict[tuple[int, int, int], Plan] = {}

    def __call__(
        self, x: Tensor, bias: Tensor | None, residual: Tensor | None, *, overwrite: bool = False
    ) -> Tensor:
        """Return activation(convolution(x) + bias + residual) [N, out, H', W'].

        With `overwrite` it may lie where the residual was.
        """
        n, channels, height, width = x.shape
        if (found := self._plans.get((n, height, width))) is None:
            found = self._plan(n, height, width)
        threads = torch.get_num_threads()
        start, pitch = read_by(self._library, found.reading, x, threads)
        out, residual = places(found.size, found.strides, residual, overwrite=overwrite)
        failed = found.kernel(
            *found.weight.addresses, channels, start.data_ptr(), pitch, *found.reading.runs,
            out.data_ptr(), out.stride(1), address(bias), address(residual),
            0 if residual is None else residual.stride(1), self._relu, threads,
        )  # fmt: skip
        if failed:
            raise MemoryError("a convolution found no memory for its sums")
        return out

    def _plan(self, n: int, height: int, width: int) -> Plan:
        """Return the plan for images of a size, and keep it."""
        found = plan(self._library, self._rows, self._shape, (n, height, width))
        self._plans[n, height, width] = found
        return found


def read_by(library: Library, reading: Reading, x: Tensor, threads: int) -> tuple[Tensor, int]:
    """Return what kernels read of x [N, C, H, W], and what they multiply indices by."""
    if (known := getattr(x, "bordered", None)) is not None and known[0] == reading:
        return known[1], 1
    if reading.copied:
        return copied_with_borders(library, x, reading.halo, reading.copied, threads), 1
    x = in_planes(x)
    return x, x.stride(1)


def copied_with_borders(
    library: Library, x: Tensor, halo: tuple[int, ...], pitch: int, threads: int
) -> Tensor:
    """Return x [N, C, H, W] as `planes.bordered` has it, `pitch` from plane to plane."""
    n, channels, height, width = x.shape
    # Samples that lie one after the other, as callers give them, are turned around line by line.
    x = x if x.is_contiguous() else in_planes(x)
    sample = x.stride(0) if n > 1 else 1
    start = empty(channels * pitch)
    if library.functions.sparsekit_halo(
        x.data_ptr(), channels, height, width, n, x.stride(1), sample, *halo,
        start.data_ptr(), pitch, threads,
    ):  # fmt: skip
        raise MemoryError("a convolution found no memory for the borders of its inputs")
    return start


def with_borders(library: Library, reading: Reading, size: Size, threads: int) -> Tensor:
    """Return memory for images of a size, with the borders that `reading` wants around them.

    `read_by` finds them there again, and need not copy; nobody else may read images that have gaps,
    whose numbers are not where strides say. They are written as `Reading.halo` says.
    """
    n, channels, height, width = size
    top, left, *_, pitch = reading.halo
    start = empty(channels * reading.copied)
    library.functions.sparsekit_borders(
        channels, height, width, n, *reading.halo, start.data_ptr(), reading.copied, threads
    )
    strides = (0, 0, 0, 0) if reading.has_gaps else (1, reading.copied, pitch * n, n)
    inside = start.as_strided(size, strides, 0 if reading.has_gaps else (top * pitch + left) * n)
    inside.bordered = (reading, start)  # type: ignore[attr-defined]
    return inside


def places(
    size: Size, strides: Size, residual: Tensor | None, *, overwrite: bool
) -> tuple[Tensor, Tensor | None]:
    """Return memory for outputs, perhaps that of the residual, and the residual in planes.

    What is overwritten is near when it is written, and takes no place beside itself.
    """
    if residual is None:
        return empty_images(size, strides), None
    if overwrite and residual.shape == size and in_planes(residual) is residual:
        return residual, residual
    return empty_images(size, strides), in_planes(residual.expand(size))


def max_pool(library: Library, x: Tensor, window: Pair, step: Pair, padding: Pair) -> Tensor:
    """Return `F.max_pool2d` of x [N, C, H, W], float32, laid out as convolutions lay theirs."""
    n, channels, height, width = x.shape
    x = in_planes(x)
    shape = Shape(channels, window, step, padding, (1, 1), channels)
    size = shape.out_size(height, width)
    out = empty_images(*images(n, channels, *size))
    windows = CWindows(*window, *step, *padding)
    library.functions.sparsekit_max_pool(
        x.data_ptr(), channels, height, width, n, x.stride(1), ctypes.addressof(windows), *size,
        out.data_ptr(), out.stride(1), torch.get_num_threads(),
    )  # fmt: skip
    return out
