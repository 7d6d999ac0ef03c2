"""From fractions to integers: the only rounding in the program.

Every fraction is read as the decimal number a person wrote (0.9, not 0.90000000000000002) and
computed with exactly, so that no weight is lost because 1 - 0.9 is a little less than 0.1.
"""

import bisect
import functools
import math
from collections.abc import Mapping
from fractions import Fraction

from sparsekit.core.types import Counts


def budget(total: int, sparsity: float) -> int:
    """Return how many of `total` weights remain at `sparsity`.

    (1 - sparsity) * total, rounded to the nearest integer; a tie keeps the extra weight.
    ValueError unless 0 <= sparsity < 1.

    >>> budget(1000, 0.9), budget(5, 0.5), budget(10, 0.0)
    (100, 3, 10)
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must lie in [0, 1), got {sparsity}")
    if total < 0:
        raise ValueError(f"the number of weights must not be negative, got {total}")
    return math.floor((1 - decimal(sparsity)) * total + Fraction(1, 2))


def decimal(value: float) -> Fraction:
    """Return the exact value of the shortest decimal that denotes this float.

    >>> decimal(0.1)
    Fraction(1, 10)
    """
    return Fraction(str(float(value)))


@functools.lru_cache(maxsize=1024)  # movers ask at every step
def whole_part(count: int, fraction: float) -> int:
    """Return `fraction` of `count`, such as steps or weights, rounded down.

    A float near a ratio of small integers counts as that ratio: a third of 90 steps is 30, although
    the float 1/3 is less than a third. ValueError unless 0 <= fraction <= 1.

    >>> whole_part(45, 0.1), whole_part(90, 1 / 3)
    (4, 30)
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"a fraction of the steps must lie in [0, 1], got {fraction}")
    return math.floor(decimal(fraction).limit_denominator(10**9) * count)


def cumulative_sparsity(remove: float, cycle: int) -> float:
    """Return the sparsity after `cycle` cycles that each remove `remove` of the survivors.

    1 - (1 - remove)^cycle. ValueError unless 0 <= remove < 1 and cycle >= 0.

    >>> [cumulative_sparsity(0.2, cycle) for cycle in range(4)]
    [0.0, 0.2, 0.36, 0.488]
    """
    if not 0 <= remove < 1:
        raise ValueError(f"the fraction to remove must lie in [0, 1), got {remove}")
    if cycle < 0:
        raise ValueError(f"cycle must be 0 or more, got {cycle}")
    return float(1 - (1 - decimal(remove)) ** cycle)


def per_cycle_fraction(sparsity: float, cycles: int) -> float:
    """Return the fraction of the survivors to remove in each of `cycles` to end at `sparsity`.

    1 - (1 - sparsity)^(1 / cycles). ValueError unless 0 <= sparsity < 1 and cycles >= 1.

    >>> round(per_cycle_fraction(0.9, 3), 6)
    0.535841
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must lie in [0, 1), got {sparsity}")
    if cycles < 1:
        raise ValueError(f"the number of cycles must be 1 or more, got {cycles}")
    return float(1 - _density(sparsity) ** (1 / cycles))


def ladder(sparsity: float, cycles: int) -> tuple[float, ...]:
    """Return the sparsity after each of `cycles` equal relative cuts; the last is `sparsity`.

    s_k = 1 - (1 - sparsity)^(k / cycles).

    >>> [round(level, 4) for level in ladder(0.98, 3)]
    [0.7286, 0.9263, 0.98]
    """
    per_cycle_fraction(sparsity, cycles)  # the same arguments are valid
    rungs = tuple(1 - _density(sparsity) ** (cycle / cycles) for cycle in range(1, cycles))
    return (*rungs, sparsity)


def _density(sparsity: float) -> float:
    # 1 - 0.99 in floating point is 0.010000000000000009, whose square root is not 0.1
    return float(1 - decimal(sparsity))


def apportion(
    shares: Mapping[str, float | Fraction],
    total: int,
    *,
    capacity: Mapping[str, int],
    least: Mapping[str, int] | None = None,
) -> Counts:
    """Split `total` in proportion to `shares`, in integers that sum to it and respect `capacity`.

    What a full layer cannot take goes to the others in proportion, and what a layer below its
    `least` needs comes from them; fractions are settled by the largest remainder, ties in the
    order of `shares`. ValueError naming the largest or smallest feasible total if the layers with
    a positive share cannot hold `total`, or if it is less than all of `least`.

    >>> apportion({"a": 1.0, "b": 1.0, "c": 2.0}, 9, capacity={"a": 9, "b": 9, "c": 3})
    {'a': 3, 'b': 3, 'c': 3}
    """
    exact = quotas(shares, Fraction(total), capacity=capacity, least=least)
    counts = {name: math.floor(quota) for name, quota in exact.items()}
    missing = total - sum(counts.values())
    # sorted() is stable, so equal remainders keep the order of the layers
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[:missing]:
        counts[name] += 1
    return counts


def quotas(
    shares: Mapping[str, float | Fraction],
    total: Fraction,
    *,
    capacity: Mapping[str, int],
    least: Mapping[str, int] | None = None,
) -> dict[str, Fraction]:
    """Split `total` in proportion to `shares` within bounds, before any rounding.

    The quota of a layer is clamp(level * share, least, capacity), with the one level at which the
    quotas sum to `total`: a layer that would exceed its capacity is full and the others share the
    rest (the fixed point that Erdos-Renyi allocations are defined by, Evci et al. 2020), and one
    that would fall below its `least` (0 unless it is given) is held there at their expense. A layer
    of share 0 gets its `least`.

    >>> quotas({"a": 1, "b": 3}, Fraction(6), capacity={"a": 9, "b": 4})
    {'a': Fraction(2, 1), 'b': Fraction(4, 1)}
    >>> quotas({"a": 1, "b": 9}, Fraction(5), capacity={"a": 9, "b": 9}, least={"a": 1, "b": 1})
    {'a': Fraction(1, 1), 'b': Fraction(4, 1)}
    """
    low = dict.fromkeys(shares, 0) if least is None else least
    _check(shares, total, capacity, low)
    exact = {name: Fraction(share) for name, share in shares.items()}

    def filled(level: Fraction) -> dict[str, Fraction]:
        return {
            name: min(max(level * share, Fraction(low[name])), Fraction(capacity[name]))
            if share > 0
            else Fraction(low[name])
            for name, share in exact.items()
        }

    def size(level: Fraction) -> Fraction:
        return sum(filled(level).values(), Fraction(0))

    # Between two of these levels no layer meets a bound, and the sum grows linearly.
    bounds = {b[n] / share for n, share in exact.items() if share > 0 for b in (low, capacity)}
    levels = sorted(bounds | {Fraction(0)})
    end = bisect.bisect_left(levels, total, key=size)
    if end == 0:
        return filled(levels[0])
    below, above = levels[end - 1], levels[end]
    part = (total - size(below)) / (size(above) - size(below))
    return filled(below + (above - below) * part)


def _check(
    shares: Mapping[str, float | Fraction],
    total: Fraction,
    capacity: Mapping[str, int],
    least: Mapping[str, int],
) -> None:
    if not set(shares) == set(capacity) == set(least):
        raise ValueError(
            f"shares for {sorted(shares)}, capacities for {sorted(capacity)}, "
            f"least numbers for {sorted(least)}"
        )
    for name, share in shares.items():
        if not 0 <= share < math.inf:
            raise ValueError(f"the share of {name!r} must be finite and not negative, got {share}")
        if not 0 <= least[name] <= capacity[name]:
            raise ValueError(f"{name!r} cannot hold {least[name]} weights, only {capacity[name]}")
    feasible = sum(capacity[name] if share > 0 else least[name] for name, share in shares.items())
    if not 0 <= total <= feasible:
        raise ValueError(f"cannot keep {total} weights; the largest feasible number is {feasible}")
    fewest = sum(least.values())
    if total < fewest:
        raise ValueError(f"cannot keep {total} weights; the smallest feasible number is {fewest}")
