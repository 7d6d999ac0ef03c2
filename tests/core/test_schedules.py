"""Value schedules: end points, recorded values, shapes."""

from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsekit.core import schedules

ALL = [
    schedules.constant,
    schedules.linear,
    schedules.cosine,
    schedules.cubic,
    schedules.geometric,
    schedules.harmonic,
]


@pytest.mark.parametrize("schedule", ALL)
@given(
    start=st.floats(0, 0.99),
    stop=st.floats(0, 0.99),
    steps=st.integers(1, 500),
    late=st.integers(0, 9),
)
def test_ends_are_exact_and_nothing_turns_back(schedule, start, stop, steps, late) -> None:
    value = partial(schedule, start=start, stop=stop, steps=steps)
    assert value(-1) == value(0) == start
    assert value(steps) == value(steps + late) == stop
    sign = 1 if stop >= start else -1
    values = [sign * value(step) for step in range(steps + 1)]
    assert all(before <= after + 1e-15 for before, after in pairwise(values))


@pytest.mark.parametrize("schedule", ALL)
def test_no_steps_means_at_the_end_at_once(schedule) -> None:
    assert schedule(0, start=0.0, stop=0.9, steps=0) == 0.9
    with pytest.raises(ValueError, match="got -1"):
        schedule(0, start=0.0, stop=0.9, steps=-1)


@pytest.mark.parametrize(
    ("schedule", "half"),
    [
        (schedules.constant, 0.0),
        (schedules.linear, 0.4),
        (schedules.cosine, 0.4),
        (schedules.cubic, 0.7),
        (schedules.geometric, 1 - 0.2**0.5),
        (schedules.harmonic, 0.8 * 10 * 0.5 / 5.5),
        (partial(schedules.harmonic, rate=1e-9), 0.4),
    ],
)
def test_half_way(schedule, half) -> None:
    assert schedule(50, start=0.0, stop=0.8, steps=100) == pytest.approx(half, abs=1e-9)


def test_cosine_a_quarter_of_the_way_down() -> None:
    value = schedules.cosine(25, start=0.8, stop=0.2, steps=100)
    assert value == pytest.approx(0.5 + 0.3 * 0.5**0.5, abs=1e-12)


def test_cosine_equals_the_recorded_drop_fractions(vectors) -> None:
    case = vectors("schedules")["cosine_condensed"]
    for step, expected in case["values"].items():
        value = schedules.cosine(int(step), start=case["alpha"], stop=0.0, steps=case["T_end"])
        assert value == pytest.approx(expected, abs=1e-12)


def test_cubic_between_updates_equals_zhu_and_gupta(vectors) -> None:
    case = vectors("schedules")["zhu_gupta_closed_form"]
    steps = case["n"] * case["dt"]
    for step, expected in case["values"].items():
        since = max(int(step) - case["t0"], 0)
        last_update = since - since % case["dt"]  # masks hold between updates
        value = schedules.cubic(last_update, start=case["s_i"], stop=case["s_f"], steps=steps)
        assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("start", "stop"), [(0.0, 1.0), (-0.1, 0.5), (1.0, 0.5)])
def test_geometric_refuses_what_is_no_sparsity(start, stop) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        schedules.geometric(1, start=start, stop=stop, steps=10)


def test_harmonic_refuses_a_rate_that_is_not_positive() -> None:
    with pytest.raises(ValueError, match="got 0"):
        schedules.harmonic(1, start=0.0, stop=0.9, steps=10, rate=0)


@pytest.mark.parametrize(
    ("interval", "until", "first", "expected"),
    [
        (10, 30, 0, [0, 10, 20, 30]),
        (10, 25, 10, [10, 20, 25]),
        (10, 25, 5, [5, 15, 25]),
        (100, 7, 0, [0, 7]),
        (10, 4, 5, []),
        (1, 3, 2, [2, 3]),
    ],
)
def test_every(interval, until, first, expected) -> None:
    found = [
        step
        for step in range(-1, 50)
        if schedules.is_due(step, interval=interval, until=until, first=first)
    ]
    assert found == expected


def test_every_refuses_an_interval_of_nothing() -> None:
    with pytest.raises(ValueError, match="got 0"):
        schedules.is_due(0, interval=0, until=9)
