"""Weights for many samples: bands of rows, in each block after block of inputs.

The inputs of a block stay in the first cache while a band is multiplied by them; without blocks
each kept weight waits for inputs from the second. Read by `sparsekit_linear` in kernels/layers.h.
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
    """Arrays of a weight for the kernel `linear`, and what it is called with.

    `order`: which row of its band each is. Rows of equal length in a block lie one after the other,
    so that a CPU foresees where each ends.
    """

    arrays: tuple[Tensor, ...]
    addresses: tuple[int, int, int, int, int, int]


def blocked(rows: SparseRows, blocks: int) -> Blocked:
    """Return a weight with its inputs in so many blocks."""
    inputs = max(1, -(-rows.num_columns // blocks))
    row, block = rows.row_numbers(), rows.columns.long() // inputs
    sizes = torch.full((-(-rows.num_rows // BAND),), BAND)
    sizes[-1:] -= -rows.num_rows % BAND
    # Segments are rows of blocks: those of a band, those of a block of it, in order of rows.
    segment = row // BAND * blocks * BAND + block * sizes[row // BAND] + row % BAND
    counts = torch.bincount(segment, minlength=rows.num_rows * blocks)
    of_segment = sizes.repeat_interleave(blocks)
    number = torch.arange(len(of_segment)).repeat_interleave(of_segment)
    in_band = torch.arange(len(number)) - (of_segment.cumsum(0) - of_segment)[number]
    order = (number * (inputs + 1) + counts).argsort(stable=True)
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order))
    entry = position[segment].argsort(stable=True)
    columns = rows.columns.to(torch.int32)[entry].to(rows.columns.dtype)
    starts = F.pad(counts[order].cumsum(0), (1, 0)).to(torch.int32)
    arrays = (copied(columns), copied(rows.values[entry]), starts, in_band[order].to(torch.int32))
    index, value, first, place = (one.data_ptr() for one in arrays)
    return Blocked(arrays, (index, value, first, rows.num_rows, place, blocks))
