"""Single bits of stored weights that flip, as in worn or irradiated memory."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

BITS = 32


def flip_bit(weights: Tensor, index: int, bit: int) -> Tensor:
    """Return a copy of float32 weights with one bit of one of them flipped.

    `index` is into the flattened tensor; bit 31 is the sign, 30 to 23 the exponent, 22 to 0 the
    mantissa. ValueError for another dtype or bit.

    >>> flip_bit(torch.tensor([0.5]), 0, 23)
    tensor([1.])
    """
    if weights.dtype != torch.float32 or not 0 <= bit < BITS:
        raise ValueError(f"bit {bit} of {weights.dtype}: expected 0 to {BITS - 1} of torch.float32")
    flipped = weights.clone(memory_format=torch.contiguous_format)
    flipped.view(torch.int32).flatten()[index] ^= _pattern(bit)
    return flipped


def flip_bits(
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    *,
    rate: float,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], int]:
    """Flip every bit that is stored with probability `rate`; return the weights and how many.

    What is stored are float32 weights, of those with a mask only the kept ones: a pruned weight has
    no memory that could fail. The number is drawn from the binomial distribution, the places
    without repetition. The indices that a sparse format stores beside are not touched. ValueError
    for weights of another dtype.
    """
    for name, weight in weights.items():
        if weight.dtype != torch.float32:
            raise ValueError(f"{name} is {weight.dtype}: bits are those of torch.float32")
    stored = {
        name: torch.nonzero(masks.get(name, torch.ones_like(weight)).flatten())[:, 0]
        for name, weight in weights.items()
    }
    total = BITS * sum(len(places) for places in stored.values())
    drawn = torch.binomial(
        torch.tensor(float(total), dtype=torch.float64),
        torch.tensor(rate, dtype=torch.float64),
        generator=generator,
    )
    chosen = _distinct(total, int(drawn), generator)
    return _flipped(weights, stored, chosen), len(chosen)


def _distinct(total: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw different whole numbers below `total`, ascending."""
    found: set[int] = set()
    while len(found) < count:
        more = torch.randint(total, (count - len(found),), generator=generator)
        found.update(more.tolist())
    return torch.tensor(sorted(found), dtype=torch.int64)


def _flipped(
    weights: Mapping[str, Tensor], stored: Mapping[str, Tensor], chosen: Tensor
) -> dict[str, Tensor]:
    flipped, first = {}, 0
    for name, weight in weights.items():
        last = first + BITS * len(stored[name])
        mine = chosen[(chosen >= first) & (chosen < last)] - first
        first = last
        copy = weight.clone(memory_format=torch.contiguous_format)
        bits = copy.view(torch.int32).flatten()
        for place, bit in zip(
            stored[name][mine // BITS].tolist(), (mine % BITS).tolist(), strict=True
        ):
            bits[place] ^= _pattern(bit)
        flipped[name] = copy
    return flipped


def _pattern(bit: int) -> int:
    """Return the signed number of 32 bits in which one bit is set."""
    return -(2**31) if bit == BITS - 1 else 1 << bit
