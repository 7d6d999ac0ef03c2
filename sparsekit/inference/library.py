"""The compiled kernels: which library serves this CPU, found, built at first use, or none.

SPARSEKIT_KERNELS chooses: `avx512`, `avx2`, `portable`, or `torch` for PyTorch alone.
"""

from __future__ import annotations

import ctypes
import functools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sparsekit.inference import building

TORCH = "torch"
CHOICES = (*building.LEVELS, TORCH)
_LEVEL_OF_CPU = {"AVX512": "avx512", "AVX2": "avx2"}
_NAMES = {"avx512": "AVX-512", "avx2": "AVX2", "portable": "portable"}

_P, _L = ctypes.c_void_p, ctypes.c_long
_SIGNATURES = {
    # Two of type int follow: what ctypes is not told of, it passes as such, in half the time.
    "sparsekit_few": [_P, _P, _P, _P, _P],
    "sparsekit_linear": [
        *(_P, _P, _P, _L, _P, _L, _L, _P, _L, _L, _L, _P, _L, _L, _P, _P, _L, _L),
    ],
    "sparsekit_planes": [
        *(_P, _P, _P, _L, _P, _L, _L, _P, *[_L] * 6, _P, _L, _P, _P, _L, _L, _L),
    ],
    "sparsekit_joined": [_P, _L, _L, _L, _L],
}  # fmt: skip


Kernel = Callable[..., int]


class CSliced(ctypes.Structure):
    """`struct sliced` of kernels/picking.h: a weight for few samples."""

    _fields_ = [
        ("rows", _L), ("features", _L),
        *((name, _P) for name in ("order", "lines", "firsts", "slots", "kept")),
        ("inputs", _L), ("gathers", _L), ("relu", _L),
    ]  # fmt: skip


class CPart(ctypes.Structure):
    """`struct part` of kernels.c: a weight and what it is multiplied by."""

    _fields_ = [
        *((name, _P) for name in ("index", "value", "starts", "order")),
        ("blocks", _L), ("x", _P), ("x_pitch", _L), ("x_step", _L),
    ]  # fmt: skip


class CPlaces(ctypes.Structure):
    """`struct places` of kernels.c: those of a copy with borders."""

    _fields_ = [
        ("out", _P), ("pitch", _L), ("n", _L),
        *((name, _L) for name in ("top", "left", "step_rows", "step_columns")),
        *((name, _L) for name in ("phase_rows", "phase_columns", "rows", "columns")),
    ]  # fmt: skip


class CStage(ctypes.Structure):
    """`struct stage` of kernels.c: one of several convolutions that are computed together."""

    _fields_ = [
        ("parts", CPart * 2), ("num_parts", _L), ("rows", _L),
        ("y", _P), ("y_pitch", _L), ("y_step", _L),
        ("bias", _P), ("residual", _P), ("residual_pitch", _L), ("residual_step", _L), ("relu", _L),
        ("places", CPlaces),
    ]  # fmt: skip


class CDense(ctypes.Structure):
    """`struct dense` of kernels/dense.h: a dense convolution."""

    _fields_ = [
        *((name, _P) for name in ("where", "weight", "bias")),
        *((name, _L) for name in ("inputs", "rows", "relu")),
    ]  # fmt: skip


class CWindows(ctypes.Structure):
    """`struct windows` of kernels/pools.h: their size, their steps, and where the first begins."""

    _fields_ = [
        (name, _L)
        for name in ("rows", "columns", "step_rows", "step_columns", "top", "left")
    ]  # fmt: skip


@dataclass(frozen=True)
class Slicing:
    """Rows of a slice, inputs of a block of it, bits of a position in a block; no blocks: 0."""

    lanes: int
    block: int
    bits: int

    @property
    def per_line(self) -> int:
        """Return how many positions a line holds for each row."""
        return 32 // self.bits


@dataclass(frozen=True)
class Library:
    """A loaded library, and whether gathers are faster than plain loads on this CPU."""

    level: str
    functions: ctypes.CDLL
    gathers: bool
    threaded: bool
    slicing: Slicing

    def function(self, name: str, values: torch.dtype, columns: torch.dtype) -> Kernel:
        """Return `sparsekit_NAME` for a type of values and of indices."""
        value = "bfloat16" if values == torch.bfloat16 else "float32"
        width = "16" if columns == torch.uint16 else "32"
        kernel: Kernel = getattr(self.functions, f"sparsekit_{name}_{value}_{width}")
        return kernel


def level() -> str:
    """Return the level in use, one of CHOICES: what $SPARSEKIT_KERNELS says, else the CPU's best.

    ValueError for another word, and for a level that this CPU does not have.
    """
    best = _LEVEL_OF_CPU.get(torch.backends.cpu.get_cpu_capability(), "portable")
    wanted = os.environ.get("SPARSEKIT_KERNELS") or best
    if wanted not in CHOICES:
        raise ValueError(f"SPARSEKIT_KERNELS={wanted} is not one of {', '.join(CHOICES)}")
    if CHOICES.index(wanted) < CHOICES.index(best):
        raise ValueError(f"SPARSEKIT_KERNELS={wanted}: this CPU has {_NAMES[best]} at most")
    return wanted


@functools.cache
def library() -> Library | None:
    """Return the library of the level in use, built if need be; None where PyTorch must do.

    The choice is made once in a process.
    """
    return _loaded(level())[0]


def description() -> str:
    """Return one line on what multiplies: `C, AVX-512`, or `PyTorch alone` and why."""
    found, why = _loaded(level())
    if found is None:
        return f"PyTorch alone: {why}"
    return f"C, {_NAMES[found.level]}{'' if found.threaded else ', one thread'}"


@functools.cache
def _loaded(level: str) -> tuple[Library | None, str]:
    if level == TORCH:
        return None, "SPARSEKIT_KERNELS=torch"
    try:
        functions = ctypes.CDLL(str(_file(level)))
    except (building.CannotBuild, OSError) as error:
        return None, str(error).splitlines()[0]
    for name, arguments in _SIGNATURES.items():
        for types in ("float32_16", "float32_32", "bfloat16_16", "bfloat16_32"):
            function = getattr(functions, f"{name}_{types}")
            function.argtypes, function.restype = arguments, _L
    functions.sparsekit_halo.argtypes = [_P, *[_L] * 14, _P, _L, _L]
    functions.sparsekit_borders.argtypes = [*[_L] * 12, _P, _L, _L]
    functions.sparsekit_borders.restype = None
    functions.sparsekit_halo.restype = _L
    functions.sparsekit_max_pool.argtypes = [_P, *[_L] * 5, _P, _L, _L, _P, _L, _L]
    functions.sparsekit_max_pool.restype = None
    functions.sparsekit_dense_planes.argtypes = [_P, _P, _L, _L, _L, _P, _L, _L]
    functions.sparsekit_dense_planes.restype = None
    functions.sparsekit_dense_pooled.argtypes = [_P, _P, *[_L] * 4, _P, _L, _L, _P, _L, _L]
    functions.sparsekit_dense_pooled.restype = _L
    gathers = level != "portable" and _gathers_are_faster(functions)
    parts = (functions.sparsekit_lanes, functions.sparsekit_block, functions.sparsekit_bits)
    slicing = Slicing(*(int(part()) for part in parts))
    return Library(level, functions, gathers, bool(functions.sparsekit_threaded()), slicing), ""


def _file(level: str) -> Path:
    for folder in _folders():
        if (path := folder / building.file_name(level)).exists():
            return path
    return building.build(level, _cache())


def _folders() -> Iterator[Path]:
    yield building.BUILT
    yield _cache()


def _cache() -> Path:
    """Return where libraries that were built at first use are kept, for this user alone."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "sparsekit"


def _gathers_are_faster(functions: ctypes.CDLL) -> bool:
    """Time both on a small product, a tenth of a millisecond each, and return which won."""
    lanes, kept = int(functions.sparsekit_lanes()), 1024
    lines = torch.zeros(lanes * kept * 3 // 2, dtype=torch.int32)
    lines.view(torch.int16)[: lanes * kept] = torch.arange(lanes * kept) * 37 % 3072
    first, order = torch.zeros(1, dtype=torch.int64), torch.arange(lanes, dtype=torch.int32)
    slots, counts = torch.zeros(1, dtype=torch.int32), torch.tensor([kept], dtype=torch.int32)
    x, y = torch.ones(3072), torch.empty(lanes)
    arrays = [address(tensor) for tensor in (order, lines, first, slots, counts)]
    spent = {True: [], False: []}  # type: dict[bool, list[float]]
    for _ in range(9):
        for gathers, times in spent.items():
            weight = CSliced(lanes, 3072, *arrays, 0, int(gathers), 0)
            begun = time.perf_counter()
            functions.sparsekit_few_float32_16(
                ctypes.addressof(weight), address(x), address(y), None, None, 1, 1
            )
            times.append(time.perf_counter() - begun)
    return min(spent[True]) < min(spent[False])


def address(tensor: Tensor | None) -> int | None:
    """Return where the elements of a tensor begin."""
    return None if tensor is None else tensor.data_ptr()
