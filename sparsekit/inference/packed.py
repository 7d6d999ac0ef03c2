"""Rows as the kernels read them, and how rows of planes are laid out in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsekit.inference.library import Kernel, Library, address
from sparsekit.inference.memory import copied, empty
from sparsekit.inference.rows import SparseRows

_LINE = 16
"""Floats of a cache line."""


@dataclass(frozen=True, eq=False)
class Packed:
    """Arrays of a sparse weight for the kernels, and the addresses they are called with.

    `order`: which output each row is. Rows of equal length lie one after the other in it, so that a
    CPU foresees where each ends.
    """

    values: Tensor
    columns: Tensor
    starts: Tensor
    order: Tensor
    addresses: tuple[int | None, int | None, int | None, int]

    def function(self, library: Library, name: str) -> Kernel:
        """Return the kernel `name` for the types of these arrays."""
        return library.function(name, self.values.dtype, self.columns.dtype)


def packed(rows: SparseRows, columns: Tensor | None = None) -> Packed:
    """Return the arrays of `rows`, sorted by length, perhaps with other column indices."""
    index = rows.columns if columns is None else columns
    counts = rows.starts.diff().long()
    order = counts.argsort(stable=True)
    starts = F.pad(counts[order].cumsum(0), (1, 0))
    moved = rows.starts[:-1].long()[order] - starts[:-1]
    entry = torch.arange(rows.kept) + torch.repeat_interleave(moved, counts[order])
    values = copied(rows.values[entry])
    narrow = copied(index.to(torch.int32)[entry].to(index.dtype))
    starts, order = starts.to(torch.int32), order.to(torch.int32)
    addresses = (address(narrow), address(values), address(starts), rows.num_rows)
    return Packed(values, narrow, starts, order, addresses)


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
