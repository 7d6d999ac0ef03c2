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

from sparsekit.inference.blocking import BAND, Blocked, blocked
from sparsekit.inference.library import Kernel, Library, address
from sparsekit.inference.memory import empty
from sparsekit.inference.packed import odd_lines
from sparsekit.inference.rows import SparseRows

Pair = tuple[int, int]
Size = tuple[int, int, int, int]

_LONG_RUN = 112
"""Rows of an image with so many columns are runs of their own; shorter ones are joined."""

_NARROWEST = 8
"""Columns that kernels read at least."""

_FARTHEST = 2**31 - 1
"""Numbers in a copy with borders at most: offsets in it have 32 bits."""

_VECTORS = 8
"""Vectors of columns in a tile, as of the kernels."""

_NEAR = 40 * 1024
"""Bytes of inputs that stay in a first cache."""

_KEPT = 16
"""So many weights a row keeps in a block at least, on average: less does not pay for its sums."""

_FEWEST = 3
"""Fewer blocks do not pay for adding up their sums."""


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
    """How one weight meets images of one size: what the kernels are called with.

    `copied`: floats of a copy with borders, 0 if inputs are read where they are; `halo`: arguments
    it is made with. `runs`: see `sparsekit_planes`.
    """

    weight: Blocked
    copied: int
    halo: tuple[int, ...]
    pitch: int
    runs: tuple[int, int, int, int, int]
    kernel: Kernel
    size: Size
    strides: Size


def plan(library: Library, rows: SparseRows, shape: Shape, size: tuple[int, int, int]) -> Plan:
    """Return how `rows` meet images of [N, H, W] = size."""
    n, height, width = size
    out_height, out_width = shape.out_size(height, width)
    length = height * width * n
    halo: tuple[int, ...] = ()
    pitch, runs, where = 0, (1, length, 0, length, length), None
    if not shape.reads_in_place or shape.groups > 1 or length < _NARROWEST:
        halo, steps, columns = bordered(shape, size, out_width)
        pitch = odd_lines(columns)
        runs = _runs(steps[1], out_height, out_width * n)
        if shape.channels * pitch > _FARTHEST:
            raise ValueError(
                f"{n} images of {height}x{width} with {shape.channels} channels are too many at "
                f"once for a convolution: at most {_FARTHEST} numbers with borders, run fewer"
            )
        where = offsets(rows, shape, steps, halo[5], pitch)
    blocks = _blocks(library, rows, shape, n, runs)
    weight = blocked(
        rows, blocks, band=BAND if blocks > 1 else max(1, rows.num_rows),
        taps=shape.kernel_size[0] * shape.kernel_size[1], offsets=where,
    )  # fmt: skip
    index = rows.columns if where is None else where
    kernel = library.function("planes", rows.values.dtype, index.dtype)
    return Plan(
        weight, shape.channels * pitch, halo, pitch, runs, kernel,
        *images(n, rows.num_rows, out_height, out_width),
    )  # fmt: skip


def _blocks(
    library: Library, rows: SparseRows, shape: Shape, n: int, runs: tuple[int, int, int, int, int]
) -> int:
    """Return in how many blocks of inputs a weight is multiplied by runs of columns.

    As many inputs as a first cache holds of a tile of columns, but no fewer than make rows keep
    enough weights in each block. One block where kernels pick columns from what they computed: from
    runs with gaps, and where vectors are so short that a last tile may be narrower than they take.
    """
    _, length, _, segment, stride = runs
    lanes = library.slicing.lanes
    if shape.groups > 1 or min(length, lanes) < _NARROWEST or segment not in (length, stride):
        return 1
    taps = shape.kernel_size[0] * shape.kernel_size[1]
    tile = min(_VECTORS * lanes, length)
    step, wide = shape.stride[1], shape.kernel_size[1]
    near = min(step, wide) * tile + (wide - 1) * shape.dilation[1] * n // step
    density = rows.kept / max(rows.num_rows * rows.num_columns, 1)
    channels = max(_NEAR / (4 * shape.kernel_size[0] * near), _KEPT / max(density * taps, 1e-9))
    blocks = round(shape.channels / channels)
    return blocks if blocks >= _FEWEST else 1


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
    columns = phases[0] * phases[1] * steps[0] + left * n + _NARROWEST
    return (top, left, step_rows, step_columns, *phases, lines, pitch), steps, columns


def _runs(step: int, lines: int, columns: int) -> tuple[int, int, int, int, int]:
    """Return runs for so many lines of outputs: each line by itself, or short ones joined."""
    if columns >= _LONG_RUN or lines == 1:
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


class Convolution:
    """A sparse weight bound to its kernels; images of every size are planned once."""

    def __init__(self, library: Library, rows: SparseRows, shape: Shape, *, relu: bool) -> None:
        self._library, self._rows, self._shape, self._relu = library, rows, shape, int(relu)
        self._halo = library.functions.sparsekit_halo
        self._plans: dict[tuple[int, int, int], Plan] = {}

    def __call__(self, x: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
        """Return activation(convolution(x) + bias + residual) [N, out, H', W']."""
        n, channels, height, width = x.shape
        if (found := self._plans.get((n, height, width))) is None:
            found = self._plan(n, height, width)
        threads = torch.get_num_threads()
        start = x = in_planes(x)
        pitch = x.stride(1)
        if found.copied:
            start = empty(found.copied)
            self._halo(x.data_ptr(), channels, height, width, n, pitch, *found.halo,
                       start.data_ptr(), found.pitch, threads)  # fmt: skip
            pitch = 1
        out = empty_images(found.size, found.strides)
        if residual is not None:
            residual = in_planes(residual.expand(found.size))
        failed = found.kernel(
            *found.weight.addresses, channels, start.data_ptr(), pitch, *found.runs,
            out.data_ptr(), found.strides[1], address(bias), address(residual),
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


def max_pool(library: Library, x: Tensor, window: Pair, step: Pair, padding: Pair) -> Tensor:
    """Return `F.max_pool2d` of x [N, C, H, W], float32, laid out as convolutions lay theirs."""
    n, channels, height, width = x.shape
    x = in_planes(x)
    shape = Shape(channels, window, step, padding, (1, 1), channels)
    size = shape.out_size(height, width)
    out = empty_images(*images(n, channels, *size))
    library.functions.sparsekit_max_pool(
        x.data_ptr(), channels, height, width, n, x.stride(1), *window, *step, *padding, *size,
        out.data_ptr(), out.stride(1), torch.get_num_threads(),
    )  # fmt: skip
    return out


def in_planes(x: Tensor) -> Tensor:
    """Return x [N, C, H, W] with samples innermost and rows side by side; x itself if it is so."""
    n, channels, height, width = x.shape
    sample, plane, row, column = x.stride()
    if (
        column == n
        and row == width * n
        and plane >= max(height * row, _NARROWEST)
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
