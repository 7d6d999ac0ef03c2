"""Integers: budgets, ladders and proportional splits."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsekit.core import counts


@pytest.mark.parametrize(
    ("total", "sparsity", "expected"),
    [
        (1000, 0.9, 100),
        (1000, 0.0, 1000),
        (10, 0.75, 3),  # 2.5: a tie keeps the extra weight
        (10, 0.85, 2),  # 1.5, although 1 - 0.85 is above 0.15 in binary
        (10, 0.95, 1),  # 0.5, although 1 - 0.95 is above 0.05 in binary
        (327680, 0.9, 32768),  # (1 - 0.9) * 327680 is below 32768 in binary
        (10000, 0.8, 2000),
        (3, 0.99, 0),
        (0, 0.5, 0),
        (10**17 + 1, 0.0, 10**17 + 1),  # beyond what a float counts
        (10, 1e-17, 10),
    ],
)
def test_budget(total: int, sparsity: float, expected: int) -> None:
    assert counts.budget(total, sparsity) == expected


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_budget_refuses_what_is_no_sparsity(sparsity: float) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\), got"):
        counts.budget(10, sparsity)


def test_budget_refuses_a_negative_number_of_weights() -> None:
    with pytest.raises(ValueError, match="-1"):
        counts.budget(-1, 0.5)


@given(st.integers(0, 10**8), st.integers(0, 9999))
def test_budget_is_the_nearest_integer(total: int, sparsity: int) -> None:
    exact = Fraction(10000 - sparsity, 10000) * total
    distance = counts.budget(total, sparsity / 10000) - exact
    assert Fraction(-1, 2) < distance <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("steps", "fraction", "expected"),
    [(40, 0.1, 4), (45, 0.1, 4), (9, 0.1, 0), (10, 1.0, 10), (112680, 1 / 3, 37560), (30, 0.7, 21)],
)
def test_whole_part(steps: int, fraction: float, expected: int) -> None:
    assert counts.whole_part(steps, fraction) == expected


def test_whole_part_refuses_what_is_no_fraction() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1.5"):
        counts.whole_part(10, 1.5)


def test_cumulative_sparsity_of_twenty_percent_per_cycle() -> None:
    levels = [counts.cumulative_sparsity(0.2, cycle) for cycle in range(21)]
    assert levels[:5] == [0.0, 0.2, 0.36, 0.488, 0.5904]
    assert levels[20] == pytest.approx(0.9885, abs=5e-5)


@pytest.mark.parametrize(("remove", "cycle"), [(1.0, 1), (-0.1, 1), (0.2, -1)])
def test_cumulative_sparsity_refuses(remove: float, cycle: int) -> None:
    with pytest.raises(ValueError, match="got"):
        counts.cumulative_sparsity(remove, cycle)


def test_geometric_ladders_of_sparse_model_soups(vectors) -> None:
    for case in vectors("soups")["imp_geometric"]:
        remove = counts.per_cycle_fraction(case["goal"], case["phases"])
        assert remove == pytest.approx(case["prune_per_phase"], abs=1e-12)
        rungs = counts.ladder(case["goal"], case["phases"])
        assert rungs == pytest.approx(case["sparsity_after"], abs=1e-12)
        assert rungs[-1] == case["goal"]
        climbed = [counts.cumulative_sparsity(remove, k + 1) for k in range(case["phases"])]
        assert climbed == pytest.approx(case["sparsity_after"], abs=1e-12)


@pytest.mark.parametrize(("sparsity", "cycles"), [(1.0, 3), (0.5, 0)])
def test_ladder_refuses(sparsity: float, cycles: int) -> None:
    with pytest.raises(ValueError, match="got"):
        counts.ladder(sparsity, cycles)


@pytest.mark.parametrize(
    ("shares", "total", "capacity", "expected"),
    [
        ([1, 1, 1], 4, [9, 9, 9], [2, 1, 1]),  # equal remainders: the earlier layer
        ([1, 2], 4, [9, 9], [1, 3]),  # 1.33 and 2.67
        ([1, 1, 2], 9, [9, 9, 3], [3, 3, 3]),  # what the full one cannot take
        ([1, 3, 96], 50, [20, 20, 20], [10, 20, 20]),  # one full layer fills the next
        ([0.1, 0.2], 3, [3, 3], [1, 2]),
        ([0, 1], 2, [5, 2], [0, 2]),
        ([1, 1], 0, [0, 0], [0, 0]),
        ([5, 1], 3, [0, 3], [0, 3]),
    ],
)
def test_apportion(shares, total, capacity, expected) -> None:
    names = "abc"[: len(shares)]
    given_shares = dict(zip(names, shares, strict=True))
    limits = dict(zip(names, capacity, strict=True))
    result = counts.apportion(given_shares, total, capacity=limits)
    assert list(result.items()) == list(zip(names, expected, strict=True))


@pytest.mark.parametrize(
    ("shares", "total", "least", "expected"),
    [
        ([1, 99], 20, [1, 1], [1, 19]),  # 0.2 and 19.8
        ([1, 1, 8], 10, [3, 0, 0], [3, 1, 6]),  # 0.78 and 6.22 share what is left
        ([0, 1], 5, [2, 0], [2, 3]),
        ([1, 9], 10, [5, 5], [5, 5]),
    ],
)
def test_apportion_gives_at_least(shares, total, least, expected) -> None:
    result = counts.apportion(
        dict(enumerate(shares)),
        total,
        capacity=dict.fromkeys(range(len(shares)), 100),
        least=dict(enumerate(least)),
    )
    assert list(result.values()) == expected


def test_apportion_refuses_less_than_the_least() -> None:
    both = {"a": 3, "b": 3}
    with pytest.raises(ValueError, match=r"cannot keep 5 .* smallest feasible number is 6"):
        counts.apportion(both, 5, capacity=both, least=both)
    with pytest.raises(ValueError, match="'a' cannot hold 4 weights, only 3"):
        counts.apportion(both, 6, capacity=both, least={"a": 4, "b": 0})


def test_equal_cuts_are_exact_where_the_root_is() -> None:
    assert counts.per_cycle_fraction(0.99, 2) == 0.9
    assert counts.ladder(0.99, 2) == (0.9, 0.99)


@pytest.mark.parametrize(
    ("shares", "total", "message"),
    [
        ({"a": 1, "b": 1}, 8, "cannot keep 8 .* largest feasible number is 7"),
        ({"a": 0, "b": 1}, 4, "cannot keep 4 .* largest feasible number is 3"),
        ({"a": 1, "b": 1}, -1, "cannot keep -1"),
        ({"a": -1, "b": 1}, 1, "'a' .* got -1"),
        ({"a": float("nan"), "b": 1}, 1, "'a' .* got nan"),
        ({"a": 1}, 1, "capacities for"),
    ],
)
def test_apportion_refuses(shares, total, message) -> None:
    with pytest.raises(ValueError, match=message):
        counts.apportion(shares, total, capacity={"a": 4, "b": 3})


@given(
    st.lists(st.tuples(st.floats(1e-6, 1e6), st.integers(0, 1000)), min_size=1, max_size=12),
    st.floats(0, 1),
)
def test_apportion_is_exact_capped_and_fair(layers, portion) -> None:
    shares = {str(index): share for index, (share, _) in enumerate(layers)}
    capacity = {str(index): size for index, (_, size) in enumerate(layers)}
    total = int(portion * sum(capacity.values()))
    result = counts.apportion(shares, total, capacity=capacity)
    assert sum(result.values()) == total
    assert all(0 <= result[name] <= capacity[name] for name in shares)
    exact = {name: Fraction(share) for name, share in shares.items()}
    roomy = [name for name in shares if result[name] < capacity[name]]
    # nobody who has room is more than one weight behind anybody
    ceiling = min(((result[name] + 1) / exact[name] for name in roomy), default=Fraction(10**12))
    assert all((result[name] - 1) / exact[name] <= ceiling for name in shares)
