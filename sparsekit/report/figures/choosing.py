"""Which results a figure shows: the dense one to compare with, and those at one sparsity."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sparsekit.report.rows import Row

NEAR = 1.3
"""By which factor the weights kept may differ where figures compare methods at one sparsity."""


class NothingToDraw(ValueError):
    """Results that do not know what a figure is about; says what is missing."""


def dense_reference(rows: Sequence[Row]) -> Row | None:
    """Return the one dense network: of the dense methods, or else of all rows at sparsity 0.

    None if there are several, of different tickets, or nothing to be compared with it.
    """
    sparse = {row.label for row in rows if row.sparsity > 0}
    dense = [row for row in rows if row.sparsity == 0]
    alone = [row for row in dense if row.label not in sparse]
    different = {frozenset(one.ticket for one in row.results): row for row in alone or dense}
    return next(iter(different.values())) if sparse and len(different) == 1 else None


def at_sparsity(rows: Sequence[Row], sparsity: float | None = None) -> list[Row]:
    """Return the row of each label that is nearest to a sparsity, if any is near.

    Methods of cycles seldom end at the same sparsity as others to the last weight. Without a
    sparsity it is the one that most labels have, the highest of several. NothingToDraw where there
    is none.
    """
    sparse = [row for row in rows if row.sparsity > 0]
    if sparsity is None:
        sparsity = _common(sparse)
    if sparsity is None:
        raise NothingToDraw("there is no sparse network")
    nearest = []
    for label in dict.fromkeys(row.label for row in sparse):
        several = [row for row in sparse if row.label == label]
        best = min(several, key=lambda row: _distance(row.sparsity, sparsity))
        if _distance(best.sparsity, sparsity) <= math.log(NEAR):
            nearest.append(best)
    if not nearest:
        there = ", ".join(f"{one:g}" for one in sorted({row.sparsity for row in sparse}))
        raise NothingToDraw(f"no result is near a sparsity of {sparsity:g}; there are {there}")
    return nearest


def names_of(rows: Sequence[Row]) -> list[str]:
    """Return labels, with the sparsity unless all have the same."""
    if len({f"{100 * row.sparsity:.1f}" for row in rows}) == 1:
        return [row.label for row in rows]
    return [f"{row.label} {100 * row.sparsity:.4g} %" for row in rows]


def where(rows: Sequence[Row]) -> str:
    """Say at which sparsity rows are, for an axis or a title.

    >>> where([])
    ''
    """
    texts = sorted({f"{100 * row.sparsity:.4g}" for row in rows}, key=float)
    if not texts:
        return ""
    ends = texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"
    return f"at {ends} % sparsity"


def _common(rows: Sequence[Row]) -> float | None:
    def num_near(sparsity: float) -> int:
        near = [row for row in rows if _distance(row.sparsity, sparsity) <= math.log(NEAR)]
        return len({row.label for row in near})

    sparsities = {row.sparsity for row in rows}
    return max(sparsities, key=lambda one: (num_near(one), one), default=None)


def _distance(one: float, other: float) -> float:
    """Return how far apart two sparsities are, as the logarithm of the ratio of weights kept."""
    if one == other:
        return 0.0
    return math.inf if 1 in (one, other) else abs(math.log((1 - one) / (1 - other)))
