"""Merges: recorded soups, snapshots that count, running means, interpolation."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsekit.core import averaging, geometry
from sparsekit.core.types import MergeContext

MERGES = [
    averaging.uniform_soup,
    averaging.greedy_soup,
    averaging.weighted_soup,
    averaging.best,
    averaging.ties,
]


def never(state) -> float:
    raise AssertionError("this merge must not validate")


def counted(*counts: int) -> MergeContext:
    return MergeContext(base=None, counts=counts)


def from_base(base: dict[str, torch.Tensor], num: int) -> MergeContext:
    return MergeContext(base=base, counts=(1,) * num)


def bits(tensor: torch.Tensor) -> list[int]:
    return tensor.view(torch.int32).tolist()


def scalar(value: float, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor([value], dtype=dtype)}


def test_single_is_the_state_itself() -> None:
    state = scalar(2.0)
    assert averaging.single([state], never)["w"] is state["w"]
    for states in ([], [state, state]):
        with pytest.raises(ValueError, match=f"single state, got {len(states)}"):
            averaging.single(states, never)


def test_uniform_soup_equals_the_recorded_one(vectors) -> None:
    case = vectors("soups")["uniform_soup"]
    states = []
    for candidate in case["candidates"]:
        state = {name: torch.tensor(value) for name, value in candidate.items()}
        state["fc.weight_orig"] = state["fc.weight_orig"] * state["fc.weight_mask"]
        states.append(state)
    result = averaging.uniform_soup(states, never)
    assert result.pop("bn.num_batches_tracked").item() == 100  # ours: an integer, from the first
    assert case["result"].pop("bn.num_batches_tracked") == 101.0
    assert set(result) == set(case["result"])
    for name, value in case["result"].items():
        torch.testing.assert_close(result[name], torch.tensor(value), rtol=0, atol=1e-7)


def test_greedy_soup_equals_the_recorded_ones(vectors) -> None:
    for case in vectors("soups")["greedy_soup"]:
        states = [scalar(value) for value in case["values"]]
        result = averaging.greedy_soup(
            states, lambda state, case=case: 1 - abs(float(state["w"]) - case["target"])
        )
        expected = sum(case["values"][index] for index in case["selected"]) / len(case["selected"])
        assert float(result["w"]) == pytest.approx(expected, abs=1e-7)
        assert float(result["w"]) == case["soup_value"]


@pytest.mark.parametrize(
    ("values", "qualities", "expected"),
    [
        ([1.0, 3.0], {1.0: 0.5, 3.0: 0.4, 2.0: 0.5}, 2.0),  # as good as before: it stays
        ([1.0, 3.0], {1.0: 0.5, 3.0: 0.4, 2.0: 0.49}, 1.0),
        ([3.0, 1.0], {1.0: 0.5, 3.0: 0.5, 2.0: 0.0}, 3.0),  # equal candidates: the first one
        # better than the best so far but not than the soup: 3 is out, though it beats 1 alone
        ([1.0, 2.0, 6.0], {1.0: 0.3, 2.0: 0.2, 6.0: 0.1, 1.5: 0.6, 3.0: 0.5}, 1.5),
        # raw candidates with equal weights: (1 + 2 + 6) / 3, not (1.5 + 6) / 2
        ([1.0, 2.0, 6.0], {1.0: 0.3, 2.0: 0.2, 6.0: 0.1, 1.5: 0.6, 3.0: 0.7}, 3.0),
        # a rejected candidate neither lowers the bar nor ends the search
        ([1.0, 2.0, 5.0], {1.0: 0.3, 2.0: 0.2, 5.0: 0.1, 1.5: 0.0, 3.0: 0.4}, 3.0),
        ([1.0, 2.0, 5.0], {1.0: 0.3, 2.0: 0.2, 5.0: 0.1, 1.5: 0.0, 3.0: 0.2}, 1.0),
    ],
)
def test_greedy_soup(values, qualities, expected) -> None:
    result = averaging.greedy_soup(
        [scalar(value) for value in values], lambda state: qualities[float(state["w"])]
    )
    assert float(result["w"]) == expected


def test_greedy_soup_validates_every_state_once() -> None:
    seen: list[float] = []

    def validate(state) -> float:
        seen.append(float(state["w"]))
        return -seen[-1]

    averaging.greedy_soup([scalar(4.0), scalar(2.0), scalar(8.0)], validate)
    assert seen == [4.0, 2.0, 8.0, 3.0, 5.0]


def test_greedy_soup_refuses_qualities_that_are_not_numbers() -> None:
    with pytest.raises(ValueError, match="nan"):
        averaging.greedy_soup([scalar(1.0), scalar(2.0)], lambda state: float("nan"))


@pytest.mark.parametrize(
    "merge", [averaging.uniform_soup, averaging.greedy_soup, averaging.weighted_soup]
)
@pytest.mark.parametrize("context", [None, counted(7)])
def test_a_soup_of_one_has_its_bits_but_not_its_memory(merge, context) -> None:
    state = {"w": torch.tensor([0.1, -0.0, 3e-45]), "n": torch.tensor(7)}
    result = merge([state], lambda state: 0.3, context)
    assert bits(result["w"]) == bits(state["w"])
    assert result["n"].item() == 7
    assert result["w"].data_ptr() != state["w"].data_ptr()


@pytest.mark.parametrize("merge", MERGES)
def test_merges_of_nothing_are_refused(merge) -> None:
    with pytest.raises(ValueError, match="no states"):
        merge([], lambda state: 0.0, from_base(scalar(0.0), 0))


@pytest.mark.parametrize("merge", MERGES)
def test_merges_change_no_input_and_keep_order_and_integers(merge) -> None:
    base = {"n": torch.tensor(0), "w": torch.tensor([0.0, 0.5])}
    states = [{"n": torch.tensor(n), "w": torch.tensor([n, 2.0 * n])} for n in (4, 6)]
    copies = [{name: tensor.clone() for name, tensor in state.items()} for state in [base, *states]]
    result = merge(states, lambda state: 0.5, from_base(base, 2))
    assert list(result) == ["n", "w"]
    assert result["n"].item() == 4
    for state, copy in zip([base, *states], copies, strict=True):
        assert all(torch.equal(state[name], copy[name]) for name in copy)


@given(
    st.lists(
        st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=6), min_size=1, max_size=5
    )
)
def test_averages_weighted_by_snapshots_are_the_mean_of_all_snapshots(particles) -> None:
    means = [scalar(sum(values) / len(values), torch.float64) for values in particles]
    context = counted(*(len(values) for values in particles))
    flat = [value for values in particles for value in values]
    result = averaging.uniform_soup(means, never, context)
    assert float(result["w"]) == pytest.approx(sum(flat) / len(flat), abs=1e-9)


@given(
    st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=7),
    st.integers(1, 1_000_000),
)
def test_equal_counts_give_the_bits_of_the_plain_mean(values: list[float], count: int) -> None:
    states = [scalar(value, torch.float64) for value in values]
    total = values[0]
    for value in values[1:]:
        total += value
    expected = bits(scalar(total / len(values), torch.float64)["w"])
    context = counted(*(count for _ in values))
    assert bits(averaging.uniform_soup(states, never)["w"]) == expected
    assert bits(averaging.uniform_soup(states, never, context)["w"]) == expected
    assert bits(averaging.weighted_soup(states, lambda state: 0.1 * count)["w"]) == expected


@pytest.mark.parametrize("merge", [averaging.uniform_soup, averaging.greedy_soup])
@pytest.mark.parametrize("counts", [(1,), (1, 1, 1), (2, 0), ()])
def test_counts_that_do_not_fit_are_refused(merge, counts) -> None:
    with pytest.raises(ValueError, match="expected 2 counts of 1 or more, got"):
        merge([scalar(1.0), scalar(2.0)], never, counted(*counts))


@pytest.mark.parametrize(
    ("threshold", "expected"),
    # ranked 1 (of 3 snapshots), 5 (of 1), 9 (of 2): soups 2, then (3 * 1 + 5 + 2 * 9) / 6
    [(2.0, 2.0), (99.0, 26 / 6), (0.0, 1.0)],
)
def test_greedy_soup_weights_by_snapshots(threshold: float, expected: float) -> None:
    qualities = {5.0: 0.5, 9.0: 0.4, 1.0: 0.6}
    result = averaging.greedy_soup(
        [scalar(value, torch.float64) for value in qualities],
        lambda state: qualities.get(float(state["w"]), float(float(state["w"]) <= threshold)),
        counted(1, 2, 3),
    )
    assert float(result["w"]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("qualities", "exponent", "expected"),
    [
        ((0.25, 0.75), 1.0, 4.0),
        ((0.25, 0.75), 2.0, 1 + 4 * 0.9),
        ((0.25, 0.75), 0.0, 3.0),
        ((0.0, 0.75), 1.0, 5.0),
        ((0.0, 0.75), 0.0, 3.0),
        ((0.9, 0.1), 1.0, 1 + 4 * 0.1),
        ((25.0, 75.0), 1.0, 4.0),
        ((0.5, 0.4), 1e5, 1.0),  # 0.5^100000 is below every float
        ((2.0, 4.0), 1e5, 5.0),  # 2^100000 is above
        # minus a loss: a third of it weighs three times as much
        ((-0.25, -0.75), 1.0, 2.0),
        ((-0.25, -0.75), 2.0, 1 + 4 * 0.1),
        ((-0.25, -0.75), 0.0, 3.0),
        ((-0.25, -math.inf), 1.0, 1.0),
        # at and around 0, where a metric such as R2 says that there is no skill
        ((-0.1, 0.5), 1.0, 5.0),
        ((-0.1, 0.0), 1.0, 5.0),
        ((-1e-9, -0.5), 1.0, 1.0),
        ((0.0, 0.0), 1.0, 3.0),
    ],
)
def test_weighted_soup(qualities, exponent: float, expected: float) -> None:
    result = averaging.weighted_soup(
        [scalar(1.0), scalar(5.0)],
        lambda state: qualities[float(state["w"]) == 5.0],
        exponent=exponent,
    )
    assert float(result["w"]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("qualities", "exponent", "message"),
    [
        ((0.5, math.inf), 1.0, "finite.*inf"),
        ((-math.inf, -math.inf), 1.0, "finite.*inf"),
        ((0.5, math.nan), 1.0, "nan"),
        ((0.5, 0.5), -1.0, "exponent must be .* got -1.0"),
        ((0.5, 0.5), math.nan, "exponent must be .* got nan"),
        ((0.5, 0.5), math.inf, "exponent must be .* got inf"),
    ],
)
def test_weighted_soup_refuses_what_gives_no_weights(qualities, exponent, message) -> None:
    states = [scalar(1.0), scalar(5.0)]
    with pytest.raises(ValueError, match=message):
        averaging.weighted_soup(
            states, lambda state: qualities[float(state["w"]) == 5.0], exponent=exponent
        )


@given(
    st.lists(
        st.tuples(st.floats(-1e3, 1e3, width=32), st.floats(0.0, 1e6)), min_size=1, max_size=6
    ).filter(lambda pairs: sum(weight for _, weight in pairs) > 1e-3)
)
def test_weighted_mean_is_the_weighted_mean(pairs) -> None:
    exact = sum(Fraction(value) * Fraction(weight) for value, weight in pairs)
    exact /= sum(Fraction(weight) for _, weight in pairs)
    states = [scalar(value, torch.float64) for value, _ in pairs]
    result = averaging.weighted_mean(states, [weight for _, weight in pairs])
    assert float(result["w"]) == pytest.approx(float(exact), rel=1e-12, abs=1e-9)


def test_a_state_of_weight_zero_is_left_out_whatever_it_holds() -> None:
    states = [scalar(math.nan), scalar(0.1), scalar(math.inf)]
    assert bits(averaging.weighted_mean(states, [0, 0.3, 0])["w"]) == bits(scalar(0.1)["w"])


@pytest.mark.parametrize(
    "weights", [[1.0], [], [1.0, -1.0], [0.0, 0.0], [1.0, math.nan], [math.nan, 1.0], [1, math.inf]]
)
def test_weights_that_are_none_are_refused(weights) -> None:
    with pytest.raises(ValueError, match=r"weights.*got \["):
        averaging.weighted_mean([scalar(1.0), scalar(2.0)], weights)


def test_best_is_the_first_of_the_highest() -> None:
    states = [scalar(1.0), scalar(7.0), scalar(8.0), scalar(3.0)]
    qualities = {1.0: 0.1, 7.0: 0.4, 8.0: 0.4, 3.0: 0.2}
    result = averaging.best(states, lambda state: qualities[float(state["w"])], counted(1, 2, 3, 4))
    assert result["w"] is states[1]["w"]
    with pytest.raises(ValueError, match="nan"):
        averaging.best(states, lambda state: math.nan if float(state["w"]) == 3.0 else 0.5)


def test_averages_do_not_lose_reduced_precision() -> None:
    states = [scalar(2048.0, torch.float16)] + [scalar(1.0, torch.float16)] * 4
    result = averaging.uniform_soup(states, never)["w"]
    assert result.dtype == torch.float16
    assert float(result) == float(torch.tensor(2052 / 5, dtype=torch.float16))


@pytest.mark.parametrize("other", [{"v": torch.ones(1)}, {"w": torch.ones(2)}])
def test_states_that_differ_are_refused(other) -> None:
    one = scalar(1.0)
    calls = [
        lambda: averaging.uniform_soup([one, other], never),
        lambda: averaging.best([one, other], never),
        lambda: averaging.weighted_mean([one, other], [1.0, 0.0]),
        lambda: averaging.ties([one, other], never, from_base(one, 2)),
        lambda: geometry.interpolate(one, other, 0.5),
        lambda: averaging.running_mean(one, 1, other),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"states differ|has shape|no tensors"):
            call()


def test_running_mean_equals_swamp(vectors) -> None:
    case = vectors("swamp")["swamp"]
    means = []
    snapshots = case["snapshots[particle][snapshot][dim]"]
    for particle in snapshots:
        mean: dict[str, torch.Tensor] = {}
        for count, snapshot in enumerate(particle):
            new = {"w": torch.tensor(snapshot, dtype=torch.float64)}
            mean = averaging.running_mean(mean, count, new)
        means.append(mean)
    for mean, expected in zip(means, case["particle_swa"], strict=True):
        assert mean["w"].tolist() == pytest.approx(expected, abs=1e-12)
    context = counted(*(len(particle) for particle in snapshots))
    average = averaging.uniform_soup(means, never, context)["w"]
    assert average.tolist() == pytest.approx(case["particle_average"], abs=1e-12)
    assert (average[torch.tensor(case["mask"]) == 0] == 0).all()


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20))
def test_running_mean_is_the_mean(values: list[float]) -> None:
    mean: dict[str, torch.Tensor] = {}
    for count, value in enumerate(values):
        mean = averaging.running_mean(mean, count, scalar(value) | {"n": torch.tensor(count)})
    assert mean["w"].dtype == torch.float64
    assert float(mean["w"]) == pytest.approx(sum(values) / len(values), abs=1e-9)
    assert mean["n"].item() == 0


def test_running_mean_changes_no_input_and_refuses_a_negative_count() -> None:
    mean, new = scalar(1.0, torch.float64), scalar(3.0)
    averaging.running_mean(mean, 1, new)
    assert float(mean["w"]) == 1.0
    assert float(new["w"]) == 3.0
    with pytest.raises(ValueError, match="got -1"):
        averaging.running_mean(mean, -1, new)


def test_interpolation_is_exact_at_the_ends_and_straight_between() -> None:
    a = {"w": torch.tensor([0.1, 2.0]), "n": torch.tensor(3)}
    b = {"w": torch.tensor([0.7, -2.0]), "n": torch.tensor(5)}
    assert torch.equal(geometry.interpolate(a, b, 0.0)["w"], a["w"])
    assert torch.equal(geometry.interpolate(a, b, 1.0)["w"], b["w"])
    assert geometry.interpolate(a, b, 0.25)["w"].tolist() == pytest.approx([0.25, 1.0])
    assert geometry.interpolate(a, b, 2.0)["w"][1].item() == -6.0
    assert geometry.interpolate(a, b, 0.5)["n"].item() == 3
