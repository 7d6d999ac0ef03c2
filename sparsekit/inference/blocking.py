"""Weights for many columns: bands of rows, in each block after block of inputs.

The inputs of a block stay in the first cache while a band is multiplied by them; without blocks
each kept weight waits for inputs from the second. Read by the kernels
`linear` and `planes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsekit.inference.memory import copied
from sparsekit.inference.rows import SparseRows

BAND = 128
"""Rows of a band, CHUNK of the kernels."""


@dataclass(frozen=True, eq=False)
class Blocked:
    """Arrays of a weight for the kernels, and what they are called with.

    `order`: which row of its band each is. Rows of equal length in a block lie one after the other,
    so that a CPU foresees where each ends.
    """

    arrays: tuple[Tensor, ...]
    addresses: tuple[int, int, int, int, int, int]


def blocked(
    rows: SparseRows,
    blocks: int,
    *,
    band: int = BAND,
    taps: int = 1,
    offsets: Tensor | None = None,
) -> Blocked:
    """Return a weight with its inputs in so many blocks, perhaps with `offsets` for its columns.

    `taps`: so many columns are one input.
    """
    inputs = max(1, -(-rows.num_columns // taps // blocks)) * taps
    row, block = rows.row_numbers(), rows.columns.long() // inputs
    sizes = torch.full((-(-rows.num_rows // band),), band)
    sizes[-1:] -= -rows.num_rows % band
    # Segments are rows of blocks: those of a band, those of a block of it, in order of rows.
    segment = row // band * blocks * band + block * sizes[row // band] + row % band
    counts = torch.bincount(segment, minlength=rows.num_rows * blocks)
    of_segment = sizes.repeat_interleave(blocks)
    number = torch.arange(len(of_segment)).repeat_interleave(of_segment)
    in_band = torch.arange(len(number)) - (of_segment.cumsum(0) - of_segment)[number]
    order = (number * (inputs + 1) + counts).argsort(stable=True)
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order))
    entry = position[segment].argsort(stable=True)
    where = rows.columns if offsets is None else offsets
    columns = where.to(torch.int32)[entry].to(where.dtype)
    starts = F.pad(counts[order].cumsum(0), (1, 0)).to(torch.int32)
    arrays = (copied(columns), copied(rows.values[entry]), starts, in_band[order].to(torch.int32))
    index, value, first, place = (one.data_ptr() for one in arrays)
    return Blocked(arrays, (index, value, first, rows.num_rows, place, blocks))
