"""What few seeds can say of a difference: paired by seed, with the interval that holds at n = 3.

The t interval covers 95 % from n = 3 on where differences are roughly normal; a percentile
bootstrap over 3, 5 or 10 seeds covers 76, 84 and 90 % (simulated), and is not offered. No test
without assumptions about the distribution can reach p = 0.05 below n = 6: the sign-flip test is
shown beside the t test for that reason. Pure numbers, without PyTorch, for `report`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence

LEVEL = 0.95
MOST_EXACT = 16
"""Number of seeds up to which all sign flips are tried: 2 to that power."""


@dataclasses.dataclass(frozen=True)
class Paired:
    """Differences of two methods over the same seeds: first less second.

    `low` and `high` bound the mean difference at `level` by Student's t; `p_t` and `p_sign_flip`
    are two-sided, and `least_p` is the smallest that a sign-flip test of so many seeds can give.
    All are NaN for one seed; `p_t` is so too where all differences are equal.
    """

    differences: tuple[float, ...]
    mean: float
    deviation: float
    low: float
    high: float
    t: float
    p_t: float
    p_sign_flip: float
    least_p: float
    level: float = LEVEL

    @property
    def count(self) -> int:
        return len(self.differences)

    @property
    def is_evidence(self) -> bool:
        """Whether the interval excludes 0. If not, there is no evidence; the two are not equal."""
        return self.low > 0 or self.high < 0


def paired(
    first: Mapping[int, float], second: Mapping[int, float], *, level: float = LEVEL
) -> Paired:
    """Compare two methods over the seeds that both have; ValueError if there is none."""
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise ValueError(f"no seed in common: {sorted(first)} and {sorted(second)}")
    differences = tuple(first[seed] - second[seed] for seed in seeds)
    mean, count = statistics.fmean(differences), len(differences)
    if count == 1:
        nan = math.nan
        return Paired(differences, mean, nan, nan, nan, nan, nan, nan, nan, level)
    deviation = statistics.stdev(differences)
    error = deviation / math.sqrt(count)
    reach = _t_quantile((1 + level) / 2, count - 1) * error
    t = mean / error if error else math.nan
    p_t = 2 * _t_tail(abs(t), count - 1)
    flips = sign_flip(differences)
    least = 2.0 ** (1 - count)
    return Paired(
        differences, mean, deviation, mean - reach, mean + reach, t, p_t, flips, least, level
    )


def _t_quantile(p: float, freedom: int) -> float:
    """Return the quantile of Student's t, from the part of SciPy that is imported quickly."""
    from scipy import special

    return float(special.stdtrit(freedom, p))


def _t_tail(t: float, freedom: int) -> float:
    from scipy import special

    return float(special.stdtr(freedom, -t))


def sign_flip(differences: Sequence[float]) -> float:
    """Return the two-sided p of the exact sign-flip test; NaN for more than 16 differences.

    The share of the 2^n ways to choose signs whose sum is at least as far from 0 (Fisher 1935).

    >>> sign_flip([0.5, 0.1, 0.6])
    0.25
    """
    if len(differences) > MOST_EXACT:
        return math.nan
    found = abs(math.fsum(differences))
    sums = [
        abs(math.fsum(sign * one for sign, one in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    slack = 1e-12 * sum(map(abs, differences))
    return sum(one >= found - slack for one in sums) / len(sums)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values corrected for their number (Holm 1979), in the same order; NaN stays NaN.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    known = sorted((p, index) for index, p in enumerate(ps) if not math.isnan(p))
    corrected, least = list(ps), 0.0
    for rank, (p, index) in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * p))
        corrected[index] = least
    return corrected


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p that two fixed networks are right equally often on one test set.

    `only_first`: the number of examples that only the first gets right (McNemar 1947). It says
    nothing about other seeds.
    """
    if only_first + only_second == 0:
        return 1.0
    from scipy import stats

    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def interquartile_mean(scores: Sequence[float]) -> float:
    """Return the mean of the middle half of scores over runs and tasks (Agarwal et al. 2021)."""
    from scipy import stats

    return float(stats.trim_mean(scores, 0.25))


def probability_of_improvement(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]
) -> float:
    """Return how often a run of the first is better, mean over tasks; ties count half.

    Scores are [runs][tasks], higher ones better (Agarwal et al. 2021).
    """
    shares = [
        statistics.fmean(
            (a > b) + 0.5 * (a == b) for a, b in itertools.product(of_first, of_second)
        )
        for of_first, of_second in zip(
            zip(*first, strict=True), zip(*second, strict=True), strict=True
        )
    ]
    return statistics.fmean(shares)
