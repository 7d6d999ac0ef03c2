"""Memory in large pages for what kernels read and write, used again when it is free.

With pages of 4 KiB the activations of a network need more translations of addresses than a CPU
remembers; on virtual machines that costs more than the arithmetic.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import weakref
from collections import defaultdict

import torch
from torch import Tensor

_LARGE_PAGE = 2 << 20
_SLAB = 32 << 20
_GRAIN = 4096
_SMALLEST = 16384
"""Floats; what is smaller comes from PyTorch's allocator."""


class _Slabs:
    """Pieces of mapped memory; a piece is given out again once no tensor is left on it."""

    def __init__(self) -> None:
        self._free: dict[int, list[int]] = defaultdict(list)
        self._mapped: list[mmap.mmap] = []
        self._next = self._end = 0

    def piece(self, size: int) -> int:
        """Return the address of `size` bytes, a multiple of _GRAIN."""
        free = self._free[size]
        try:
            return free.pop()
        except IndexError:
            pass
        if self._next + size > self._end:
            self._map(max(size, _SLAB))
        address = self._next
        self._next += size
        return address

    def give_back(self, address: int, size: int) -> None:
        """Take a piece back."""
        self._free[size].append(address)

    def _map(self, size: int) -> None:
        length = -(-size // _LARGE_PAGE) * _LARGE_PAGE
        mapped = mmap.mmap(-1, length + _LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without large pages
                mapped.madvise(mmap.MADV_HUGEPAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        self._mapped.append(mapped)
        self._next = -(-start // _LARGE_PAGE) * _LARGE_PAGE
        self._end = self._next + length


_slabs = _Slabs()


def empty(floats: int) -> Tensor:
    """Return an uninitialised float32 tensor [floats]."""
    if floats < _SMALLEST:
        return torch.empty(floats)
    size = _size_class(4 * floats)
    address = _slabs.piece(size)
    owner = (ctypes.c_float * floats).from_address(address)
    # The storage holds the owner; both go with the last tensor on it.
    weakref.finalize(owner, _slabs.give_back, address, size).atexit = False
    return torch.frombuffer(owner, dtype=torch.float32)


def _size_class(size: int) -> int:
    """Return `size` rounded up to one of eight sizes in each power of two.

    >>> [_size_class(size) for size in (70_000, 4097 * 32, 1_000_000)]
    [73728, 147456, 1048576]
    """
    grain = max(_GRAIN, 1 << (size.bit_length() - 4))
    return -(-size // grain) * grain


def copied(tensor: Tensor) -> Tensor:
    """Return a contiguous copy of a tensor of any type, for arrays that kernels read often."""
    flat = tensor.contiguous().view(-1)
    bytes_needed = flat.numel() * flat.element_size()
    place = empty(-(-bytes_needed // 4)).view(torch.uint8)[:bytes_needed].view(tensor.dtype)
    place.copy_(flat)
    return place.view(tensor.shape)
