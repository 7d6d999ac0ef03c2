"""Against values computed for the same seeds by independent code."""

import math

import pytest

from sparsekit.evaluation.significance import (
    holm,
    interquartile_mean,
    mcnemar,
    paired,
    probability_of_improvement,
    sign_flip,
)

FIRST = dict(enumerate([93.1, 92.8, 93.4, 92.9, 93.3]))
SECOND = dict(enumerate([92.6, 92.7, 92.8, 92.5, 93.0]))
RUNS = [[0.91, 0.8, 0.7], [0.92, 0.82, 0.65], [0.9, 0.81, 0.72], [0.6, 0.83, 0.71]]
OTHERS = [[0.9, 0.79, 0.7], [0.91, 0.8, 0.69], [0.92, 0.78, 0.71], [0.89, 0.8, 0.68]]


def first(count: int) -> dict[int, float]:
    return {seed: FIRST[seed] for seed in range(count)}


@pytest.mark.parametrize(
    ("count", "mean", "deviation", "t", "p", "interval", "flips"),
    [
        (3, 0.4, 0.264575131106, 2.61861468283, 0.12011731, (-0.257241060773, 1.05724106), 1 / 4),
        (4, 0.4, 0.216024689947, 3.70328039909, 0.03420018, (0.0562565118, 0.743743488), 1 / 8),
        (5, 0.38, 0.192353840617, 4.41741027227, 0.01153405, (0.14116116, 0.61883884), 1 / 16),
    ],
)
def test_seeds_are_paired(
    count: int,
    mean: float,
    deviation: float,
    t: float,
    p: float,
    interval: tuple[float, float],
    flips: float,
) -> None:
    found = paired(first(count), SECOND)
    told = (found.mean, found.deviation, found.t, found.p_t, found.low, found.high)
    assert told == pytest.approx((mean, deviation, t, p, *interval), rel=1e-6)
    assert found.p_sign_flip == found.least_p == flips
    assert found.is_evidence == (count > 3)
    assert found.count == count


def test_only_seeds_of_both_count() -> None:
    assert paired({0: 1.0, 1: 2.0, 7: 9.0}, {1: 1.0, 0: 3.0, 5: 0.0}).differences == (-2.0, 1.0)
    with pytest.raises(ValueError, match=r"no seed in common: \[0\] and \[1\]"):
        paired({0: 1.0}, {1: 1.0})


def test_one_seed_has_no_interval_and_equal_differences_no_t() -> None:
    one = paired(first(1), SECOND)
    assert math.isnan(one.low)
    assert not one.is_evidence
    same = paired({0: 1.5, 1: 2.5}, {0: 1.0, 1: 2.0})
    assert (same.low, same.high, same.deviation) == (0.5, 0.5, 0.0)
    assert math.isnan(same.p_t)


def test_no_sign_flip_test_of_five_seeds_reaches_five_per_cent() -> None:
    assert sign_flip([1.0, 2.0, 3.0, 4.0, 5.0]) == 0.0625
    assert sign_flip([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == 0.03125
    assert sign_flip([1.0, -1.0]) == 1.0
    assert math.isnan(sign_flip([1.0] * 17))


def test_p_values_are_corrected_for_their_number() -> None:
    corrected = holm([0.01, math.nan, 0.04, 0.03, 0.9])
    assert corrected[0] == pytest.approx(0.04)
    assert math.isnan(corrected[1])
    assert corrected[2:] == pytest.approx([0.09, 0.09, 0.9])


def test_two_fixed_networks() -> None:
    assert mcnemar(21, 9) == pytest.approx(0.0427739452571)
    assert mcnemar(0, 0) == 1.0


def test_scores_over_runs_and_tasks() -> None:
    assert interquartile_mean([one for run in RUNS for one in run]) == pytest.approx(0.781666666667)
    assert probability_of_improvement(RUNS, OTHERS) == pytest.approx(0.677083333333)
