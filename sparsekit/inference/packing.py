"""Small unsigned integers in few bits each, packed into bytes: the lowest bit comes first."""

from __future__ import annotations

import torch
from torch import Tensor

BYTE = 8


def pack_bits(bits: Tensor) -> Tensor:
    """Return `bits`, bool [n], as uint8 [n / 8, rounded up]; what fills the last byte is 0.

    >>> pack_bits(torch.tensor([True, False, True, False, False, False, False, True, True]))
    tensor([133,   1], dtype=torch.uint8)
    """
    padded = torch.zeros(num_bytes(len(bits)) * BYTE, dtype=torch.uint8)
    padded[: len(bits)] = bits
    weights = 1 << torch.arange(BYTE, dtype=torch.uint8)
    return (padded.view(-1, BYTE) * weights).sum(1, dtype=torch.uint8)


def unpack_bits(packed: Tensor, count: int) -> Tensor:
    """Return the first `count` bits, bool; ValueError unless they fill the bytes, with 0 behind."""
    if packed.dtype != torch.uint8 or packed.shape != (num_bytes(count),):
        raise ValueError(f"{count:,} bits take {num_bytes(count):,} bytes, got {_shape(packed)}")
    bits = bits_of(packed)
    if bits[count:].any():
        raise ValueError("a bit is set behind the last one")
    return bits[:count]


def bits_of(packed: Tensor) -> Tensor:
    """Return all bits of bytes, bool."""
    shifts = torch.arange(BYTE, dtype=torch.uint8)
    return ((packed.unsqueeze(1) >> shifts) & 1).flatten().bool()


def pack(symbols: Tensor, width: int) -> Tensor:
    """Return `symbols`, int64 [n] below 2 ** width, in `width` bits each.

    >>> pack(torch.tensor([1, 2, 3]), width=4)
    tensor([33,  3], dtype=torch.uint8)
    """
    return pack_bits(((symbols.unsqueeze(1) >> torch.arange(width)) & 1).bool().flatten())


def unpack(packed: Tensor, count: int, width: int) -> Tensor:
    """Return `count` symbols, int64; ValueError as in `unpack_bits`."""
    return symbols_of(unpack_bits(packed, count * width), width)


def symbols_of(bits: Tensor, width: int) -> Tensor:
    """Return the whole symbols in `bits`, int64."""
    count = len(bits) // width
    whole = bits[: count * width].view(count, width)
    return (whole.long() << torch.arange(width)).sum(1)


def num_bytes(bits: int) -> int:
    """Return how many bytes hold so many bits.

    >>> num_bytes(8), num_bytes(9)
    (1, 2)
    """
    return -(-bits // BYTE)


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
