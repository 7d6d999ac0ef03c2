"""What is aimed at, for 3072 inputs and 768 outputs on one thread."""

from __future__ import annotations

from benchmarks.inference.cases import DIFFERING, Case

SHAPE = (3072, 768)
OVER_DENSE = {
    # (sparsity, batch, cold, dtype): times the best dense
    (0.9, 1, False, "float32"): 4.5,
    (0.9, 1, True, "float32"): 5.5,
    (0.9, 1, False, "bfloat16"): 6.0,
    (0.9, 1, True, "bfloat16"): 8.0,
    (0.95, 1, False, "float32"): 8.0,
    (0.99, 1, False, "float32"): 25.0,
    (0.9, 8, False, "float32"): 6.0,
    (0.9, 64, False, "float32"): 4.5,
    (0.9, 256, False, "float32"): 3.0,
}
OVER_CSR = {(0.9, 1, False, "float32"): 2.2}
DIFFERING_SHARE = 0.8
"""Rows of differing length reach at least so much of what constant fan-in does."""
SHARE = {"avx512": 1.0, "avx2": 2 / 3}
"""What other vector units than AVX-512 reach of it."""
FALLBACK = 0.9
"""PyTorch alone is at least so many times as fast as dense, everywhere."""
NEAR_MEMORY = 1.3
"""With cold caches at batch 1: times the limit by bandwidth."""


def over_dense(case: Case, way: str, level: str) -> float | None:
    """How many times as fast as the best dense layer, None where nothing is aimed at."""
    if level == "torch":
        return FALLBACK
    return _share(case, way, level, OVER_DENSE.get(_key(case, way)))


def over_csr(case: Case, way: str, level: str) -> float | None:
    """The same against the best stock CSR."""
    return None if level == "torch" else _share(case, way, level, OVER_CSR.get(_key(case, way)))


def times_limit(case: Case, level: str) -> float | None:
    """How many times the physical limit at most, None where nothing is aimed at."""
    return NEAR_MEMORY if case.is_cold and level in SHARE else None


def _key(case: Case, way: str) -> tuple[float, int, bool, str] | None:
    if (case.inputs, case.outputs) != SHAPE:
        return None
    return case.sparsity, case.batch, case.is_cold, way.rpartition(", ")[2]


def _share(case: Case, way: str, level: str, target: float | None) -> float | None:
    if target is None or level not in SHARE:
        return None
    return target * SHARE[level] * (DIFFERING_SHARE if way.startswith(DIFFERING) else 1.0)
