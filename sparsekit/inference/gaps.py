"""Positions of kept weights as the gaps between them, in few bits each.

A gap, the number of pruned weights before a kept one, is a symbol of `width` bits. The largest
symbol says that so many are pruned and the gap goes on. At 90 % most gaps take 4 bits, so that
positions cost half a bit per weight, about what is possible (0.47 bits, their entropy).
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsekit.inference.packing import bits_of, pack, symbols_of, unpack

WIDEST = 16


def encode_gaps(kept: Tensor) -> Tensor:
    """Return the gaps of `kept`, bool [n], as uint8: the width, and symbols of so many bits.

    >>> encode_gaps(torch.tensor([False, True, True, False, False, False, True]))  # 1, 0, 3
    tensor([ 1, 57], dtype=torch.uint8)
    """
    positions = kept.nonzero().flatten()
    gaps = positions.diff(prepend=positions.new_full((1,), -1)) - 1
    width = min(range(1, WIDEST + 1), key=lambda width: width * _num_symbols(gaps, width))
    longest = (1 << width) - 1
    ends = (gaps // longest + 1).cumsum(0) - 1
    symbols = torch.full((_num_symbols(gaps, width),), longest)
    symbols[ends] = gaps % longest
    return torch.cat([torch.tensor([width], dtype=torch.uint8), pack(symbols, width)])


def decode_gaps(packed: Tensor, num_kept: int, size: int) -> Tensor:
    """Return which of `size` weights are kept, bool; ValueError unless these gaps say `num_kept`
    of them and nothing else."""
    if packed.dtype != torch.uint8 or packed.ndim != 1 or not len(packed):
        raise ValueError("expected bytes that begin with a width")
    width, symbols = int(packed[0]), packed[1:]
    if not 1 <= width <= WIDEST:
        raise ValueError(f"gaps are 1 to {WIDEST} bits wide, got {width}")
    found = symbols_of(bits_of(symbols), width)
    longest = (1 << width) - 1
    is_end = found < longest
    ends = is_end.nonzero().flatten()
    if len(ends) < num_kept:
        raise ValueError(f"{len(ends):,} gaps for {num_kept:,} kept weights")
    num_used = int(ends[num_kept - 1]) + 1 if num_kept else 0
    unpack(symbols, num_used, width)  # refuses what follows them
    steps = torch.where(is_end, found + 1, found)[:num_used]
    positions = steps.cumsum(0)[is_end[:num_used]] - 1
    if num_kept and int(positions[-1]) >= size:
        raise ValueError(f"a gap leads to weight {int(positions[-1]):,} of {size:,}")
    kept = torch.zeros(size, dtype=torch.bool)
    kept[positions] = True
    return kept


def _num_symbols(gaps: Tensor, width: int) -> int:
    return int((gaps // ((1 << width) - 1) + 1).sum())
