"""Where a curve of quality against sparsity gives way: pure functions over its points."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

Point = tuple[float, float]
"""Sparsity, and a quality of which more is better: an accuracy, or minus a loss."""

ROUNDING = 1e-9
"""Means over seeds are sums of floats; smaller differences count as equal."""


@dataclasses.dataclass(frozen=True)
class Essential:
    """`within`: the largest measured sparsity up to which every measured quality is within the
    tolerance, None if there is none. `beyond`: the first measured one that is not, None if all
    are, and the essential sparsity lies beyond the last measured one."""

    within: float | None
    beyond: float | None


def essential(points: Sequence[Point], *, dense: float, tolerance: float) -> Essential:
    """Return up to which sparsity a method is as good as the dense network, less `tolerance`.

    The largest measured s such that every measured sparsity up to s has at least the quality
    dense - tolerance: a curve that recovers later has lost it all the same. The idea is that of
    Jaiswal et al. 2023 ("The Emergence of Essential Sparsity in Large Pre-trained Models"), which
    reads the point of a sharp drop off the curve; the tolerance, an absolute one, is ours.
    Points in any order. ValueError for none, equal sparsities, or a tolerance below 0.

    >>> curve = [(0.2, 0.91), (0.5, 0.89), (0.8, 0.85), (0.9, 0.89)]
    >>> essential(curve, dense=0.9, tolerance=0.01)
    Essential(within=0.5, beyond=0.8)
    >>> essential(curve[:2], dense=0.9, tolerance=0.01)
    Essential(within=0.5, beyond=None)
    """
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"the tolerance is a distance to dense, 0 or more, got {tolerance}")
    ordered = _ordered(points)
    if not ordered:
        raise ValueError("expected a point or more, got none")
    least = dense - tolerance - ROUNDING
    within = list(itertools.takewhile(lambda point: point[1] >= least, ordered))
    rest = ordered[len(within) :]
    return Essential(within[-1][0] if within else None, rest[0][0] if rest else None)


def drops_in_slope(points: Sequence[Point]) -> list[Point]:
    """Return each inner sparsity, ascending, and by how much the slope of the curve drops there.

    The slope from point i - 1 to i less the slope from i to i + 1: minus the second difference,
    with the spacing as measured. It is not divided by the spacing once more, so that where a curve
    of two straight lines bends does not depend on how densely it was measured there. Quality per
    sparsity, positive where the curve bends down. Points in any order; empty for fewer than three.
    ValueError for equal sparsities.

    >>> drops_in_slope([(0.0, 1.0), (0.5, 1.0), (0.75, 0.75), (1.0, 0.25)])
    [(0.5, 1.0), (0.75, 1.0)]
    """
    ordered = _ordered(points)
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(ordered)]
    drops = [left - right for left, right in itertools.pairwise(slopes)]
    return [(sparsity, drop) for (sparsity, _), drop in zip(ordered[1:-1], drops, strict=True)]


def knee(points: Sequence[Point]) -> float | None:
    """Return the measured sparsity at which the slope of the curve drops most.

    The first of equal drops; None for fewer than three points and for a curve that nowhere bends
    down, whose knee, if it has one, lies beyond the last point. ValueError for equal sparsities.

    >>> knee([(0.0, 0.9), (0.5, 0.9), (0.8, 0.9), (0.9, 0.7), (0.95, 0.6)])
    0.8
    >>> knee([(0.0, 0.9), (0.5, 0.8), (0.75, 0.75)]) is None
    True
    """
    drops = drops_in_slope(points)
    highest = max((drop for _, drop in drops), default=0.0)
    if highest <= ROUNDING:
        return None
    return next(sparsity for sparsity, drop in drops if drop >= highest - ROUNDING)


def _ordered(points: Sequence[Point]) -> list[Point]:
    ordered = sorted(points)
    equal = [a[0] for a, b in itertools.pairwise(ordered) if a[0] == b[0]]
    if equal:
        raise ValueError(f"two points at sparsity {equal[0]}")
    return ordered
