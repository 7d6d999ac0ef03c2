"""Rows as the kernels read them, and how rows of planes are laid out in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsekit.inference.library import Kernel, Library, address
from sparsekit.inference.rows import SparseRows

_SLACK = 8
"""Entries that kernels may read past the end of values and indices."""

_LINE = 16
"""Floats of a cache line."""


@dataclass(frozen=True, eq=False)
class Packed:
    """Arrays of a sparse weight for the kernels, and their addresses."""

    values: Tensor
    columns: Tensor
    starts: Tensor
    addresses: tuple[int | None, int | None, int | None, int]

    def function(self, library: Library, name: str) -> Kernel:
        """Return the kernel `name` for the types of these arrays."""
        return library.function(name, self.values.dtype, self.columns.dtype)


def packed(rows: SparseRows, columns: Tensor | None = None) -> Packed:
    """Return the arrays of `rows`, perhaps with other column indices, with slack at their ends."""
    index = rows.columns if columns is None else columns
    values = F.pad(rows.values, (0, _SLACK))
    wide = F.pad(index.to(torch.int32), (0, _SLACK))
    narrow, starts = wide.to(index.dtype), rows.starts.contiguous()
    addresses = (address(narrow), address(values), address(starts), rows.num_rows)
    return Packed(values, narrow, starts, addresses)


def odd_lines(floats: int) -> int:
    """Return a distance of at least `floats` between planes that is an odd number of cache lines.

    Powers of two would put every plane into the same few sets of a cache.

    >>> [odd_lines(floats) for floats in (1, 16, 17, 33)]
    [16, 16, 48, 48]
    """
    return (-(-floats // _LINE) | 1) * _LINE


def planes(channels: int, columns: int) -> Tensor:
    """Return uninitialised planes [channels, columns], an odd number of cache lines apart."""
    return torch.empty(channels, odd_lines(columns))[:, :columns]
