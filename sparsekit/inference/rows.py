"""A sparse weight: what each output sums over, and with which values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NARROW = 1 << 16
"""So many columns fit indices of 16 bits."""

DTYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class SparseRows:
    """The kept weights of a matrix, row by row.

    values: [kept], float32 or bfloat16. columns: [kept], uint16 where they fit, else int32;
    ascending within each row. starts: [rows + 1], int32: row r holds starts[r] to starts[r + 1].
    A kept weight may have the value 0; what is kept is said by a mask, never by a value.
    """

    values: Tensor
    columns: Tensor
    starts: Tensor
    num_columns: int

    @property
    def num_rows(self) -> int:
        """Return the number of outputs."""
        return len(self.starts) - 1

    @property
    def kept(self) -> int:
        """Return the number of kept weights."""
        return len(self.values)

    @property
    def fan_in(self) -> int | None:
        """Return how many weights each row keeps, None if that differs from row to row."""
        counts = self.starts.diff()
        if not len(counts):
            return None
        return int(counts[0]) if bool((counts == counts[0]).all()) else None

    def row_numbers(self) -> Tensor:
        """Return the row of each kept weight, int64 [kept]."""
        return torch.repeat_interleave(torch.arange(self.num_rows), self.starts.diff().long())

    def mask(self) -> Tensor:
        """Return which weights are kept, bool [rows, columns]."""
        mask = torch.zeros(self.num_rows, self.num_columns, dtype=torch.bool)
        mask[self.row_numbers(), self.columns.long()] = True
        return mask

    def dense(self) -> Tensor:
        """Return the matrix, 0 where nothing is kept, float32 [rows, columns]."""
        dense = torch.zeros(self.num_rows, self.num_columns)
        dense[self.row_numbers(), self.columns.long()] = self.values.float()
        return dense


def sparse_rows(weight: Tensor, mask: Tensor, *, dtype: torch.dtype = torch.float32) -> SparseRows:
    """Return the kept weights of `weight` [rows, ...], its other dimensions flattened.

    `mask`: bool, of the same shape, True is kept. ValueError for other shapes, and for a storage
    `dtype` that is neither float32 nor bfloat16.
    """
    if mask.shape != weight.shape or mask.dtype != torch.bool:
        raise ValueError(
            f"the mask must be boolean {tuple(weight.shape)}, got {mask.dtype} {tuple(mask.shape)}"
        )
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(map(str, DTYPES))}, got {dtype}")
    kept = mask.detach().cpu().flatten(1)
    rows, columns = kept.nonzero(as_tuple=True)
    counts = torch.zeros(len(kept) + 1, dtype=torch.int64)
    counts[1:] = torch.bincount(rows, minlength=len(kept)).cumsum(0)
    narrow = kept.shape[1] <= NARROW
    return SparseRows(
        values=weight.detach().cpu().flatten(1)[rows, columns].to(dtype),
        columns=columns.to(torch.uint16 if narrow else torch.int32),
        starts=counts.to(torch.int32),
        num_columns=kept.shape[1],
    )
