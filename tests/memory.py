"""The memory of processes that fork, arranged so that a fork costs little.

A fork copies the table of pages, and what it writes to: counters of references, and the heads of
all objects when garbage is collected. With PyTorch imported that is most of what a short life
costs.
"""

from __future__ import annotations

import ctypes
import gc

LARGE = 2**21
MADV_COLLAPSE = 25  # of Linux 6.1 and later


def settle() -> None:
    """Keep what is there for good, where collections pass over it, in large pages if there are."""
    gc.collect()
    gc.freeze()
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for begin, end in _own_memory():
        for place in range(-(-begin // LARGE) * LARGE, end - LARGE + 1, LARGE):
            advise(place, LARGE, MADV_COLLAPSE)  # refused, it stays as it is


def _own_memory() -> list[tuple[int, int]]:
    """Return where this process has written: what no file stands behind, and the heap."""
    places = []
    with open("/proc/self/maps") as file:
        for line in file:
            where, allowed, _, _, _, *path = line.split()
            if allowed == "rw-p" and path in ([], ["[heap]"]):
                begin, end = (int(text, 16) for text in where.split("-"))
                places.append((begin, end))
    return places
