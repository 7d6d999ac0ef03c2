"""Counts per layer: literal tables, recorded densities, and exactness under any budget."""

import math
from fractions import Fraction
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsekit.core import allocate, patterns
from sparsekit.core.counts import budget

SHAPES = {"conv1": (4, 3, 3, 3), "conv2": (6, 4, 3, 3), "shortcut": (6, 4, 1, 1), "fc": (5, 6)}
TOTAL = sum(math.prod(shape) for shape in SHAPES.values())
RATIOS = {"conv1": 0.5, "conv2": 0.1, "shortcut": 0.9, "fc": 1.0}
SMALLEST = [  # each allocation with the smallest number of weights it can keep
    (allocate.globally, 0),
    (allocate.uniform, 4),
    (allocate.erdos_renyi, 4),
    (allocate.erk, 4),
    (partial(allocate.from_ratios, ratios=RATIOS), 4),
    (allocate.erk_plus, 33),
    (allocate.uniform_plus, 116),
]


def ones(shapes=SHAPES) -> dict[str, torch.Tensor]:
    return {name: torch.ones(shape) for name, shape in shapes.items()}


def expanded(shapes) -> dict[str, torch.Tensor]:
    """Scores of 0 that take no memory."""
    return {name: torch.zeros(()).expand(*shape) for name, shape in shapes.items()}


def noise(seed: int, shapes=SHAPES) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("scores", "total", "expected"),
    [
        ([[1.0, 4.0], [3.0, 2.0]], 2, [1, 1]),
        ([[1.0, 4.0], [3.0, 5.0]], 3, [1, 2]),
        ([[2.0, 2.0], [2.0, 2.0]], 3, [2, 1]),  # ties: the earlier layer
        ([[2.0, 2.0], [2.0, 3.0]], 2, [1, 1]),
        ([[1.0], [-math.inf, -5.0, -math.inf]], 2, [1, 1]),
        ([[1.0], [2.0]], 0, [0, 0]),
        ([[math.inf, 1.0], [math.inf, 2.0]], 3, [1, 2]),
    ],
)
def test_globally(scores, total, expected) -> None:
    layers = {str(index): torch.tensor(values) for index, values in enumerate(scores)}
    assert list(allocate.globally(layers, total).values()) == expected


def test_globally_compares_layers_of_different_precision_exactly() -> None:
    third = torch.tensor([1 / 3], dtype=torch.float64)
    assert allocate.globally({"a": third, "b": third.float()}, 1) == {"a": 0, "b": 1}
    assert allocate.globally({"a": third, "b": third.half()}, 1) == {"a": 1, "b": 0}


def test_globally_selects_the_largest_of_a_large_network() -> None:
    scores = noise(0, {"a": (300, 1000), "b": (100, 1000), "c": (10, 10)})
    scores["b"] *= 3
    ranked = torch.cat([score.flatten() for score in scores.values()]).sort(descending=True).values
    counts = allocate.globally(scores, 70_000)
    assert sum(counts.values()) == 70_000
    for name, score in scores.items():
        kept = patterns.unstructured(score, counts[name])
        assert score[kept].min() >= ranked[69_999]
        assert score[~kept].max() <= ranked[70_000]


def test_uniform_counts_follow_the_recorded_densities(vectors) -> None:
    data = vectors("densities")
    network = "cifar_resnet_20|classes=10"
    scores = ones({name: tuple(shape) for name, shape in data["shapes"][network].items()})
    counts = allocate.uniform(scores, 27090)
    expected = data["cases"][f"{network}|uniform|density=0.1"]
    for (name, score), density in zip(scores.items(), expected, strict=True):
        assert abs(counts[name] - density * score.numel()) < 1


def test_erk_counts_sum_to_the_budget_that_the_recorded_ones_exceed(vectors) -> None:
    for case in vectors("erk")["cases"]:
        recorded = {name: num_kept for name, _, _, num_kept in case["layers"]}
        scores = expanded({name: shape for name, shape, _, _ in case["layers"]})
        assert sum(score.numel() for score in scores.values()) == case["num_weights"]
        total = budget(case["num_weights"], case["sparsity"])
        counts = allocate.erk(scores, total)
        assert sum(counts.values()) == total
        # the reference rounds the zeros of every layer down twice: for epsilon, and in the end
        assert total < case["num_kept"] < total + 2 * len(counts)
        assert sum(recorded.values()) == case["num_kept"]
        assert all(0 <= recorded[name] - num <= 3 for name, num in counts.items())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: allocate.uniform_plus(ones(), 115), "cannot keep 115 .* smallest .* 116 "),
        (lambda: allocate.uniform_plus(ones(), 107), "cannot keep 107 .* smallest .* 116 "),
        (lambda: allocate.erk_plus(ones(), 32), "cannot keep 32 .* smallest .* 33 "),
        (lambda: allocate.erk_plus(ones(), 376, last_density=0.5), "largest .* 363 "),
        (lambda: allocate.erk_plus(ones(), 99, last_density=2), r"\[0, 1\], got 2"),
        (lambda: allocate.from_ratios(ones(), 9, ratios={"fc": 1.0}), "ratios for"),
    ],
)
def test_the_infeasible_is_refused_with_the_feasible(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_ratios_may_be_exact_fractions() -> None:
    scores = {name: torch.ones(1, 30) for name in "abc"}
    ratios = {"a": Fraction(1, 3), "b": Fraction(2, 3), "c": Fraction(0)}
    counts = allocate.from_ratios(scores, 3, ratios=ratios)
    assert counts == {"a": 1, "b": 2, "c": 0}
    assert allocate.from_ratios(scores, 50, ratios=ratios) == {"a": 20, "b": 30, "c": 0}
    # an exact tie, which goes to the first layer; as floats 3 * (1 / 3) < 7 * (1 / 7)
    tied = {"a": torch.ones(1, 3), "b": torch.ones(1, 7)}
    ratios = {"a": Fraction(1, 3), "b": Fraction(1, 7)}
    assert allocate.from_ratios(tied, 3, ratios=ratios) == {"a": 2, "b": 1}


def test_uniform_plus_keeps_exactly_its_smallest_feasible_number() -> None:
    counts = allocate.uniform_plus(ones(), 116)
    assert counts == {"conv1": 108, "conv2": 1, "shortcut": 1, "fc": 6}


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [  # by proportion alone "thin" would get 0.2 and 0.3 of a weight, rounded to none
        (allocate.uniform, {"wide": 19, "thin": 1}),
        (partial(allocate.from_ratios, ratios={"wide": 1.0, "thin": 0.5}), {"wide": 19, "thin": 1}),
        (partial(allocate.from_ratios, ratios={"wide": 1.0, "thin": 0.0}), {"wide": 20, "thin": 0}),
    ],
)
def test_a_thin_layer_keeps_a_weight_unless_it_is_to_be_empty(scheme, expected) -> None:
    assert scheme(ones({"wide": (40, 10), "thin": (2, 2)}), 20) == expected


def test_a_budget_without_a_weight_for_each_layer_is_refused() -> None:
    for scheme in (allocate.uniform, allocate.erk, allocate.erdos_renyi):
        with pytest.raises(ValueError, match=r"cannot keep 3 .* number is 4: 'conv1' 1, 'conv2' 1"):
            scheme(ones(), 3)
        assert set(scheme(ones(), 4).values()) == {1}


def test_layers_pruned_away_or_without_weights_stay_empty() -> None:
    scores = ones({"a": (2, 3), "b": (2, 3), "c": (0, 3)})
    scores["b"] *= -math.inf
    for scheme in (allocate.uniform, allocate.erk, allocate.erdos_renyi, allocate.globally):
        assert scheme(scores, 2) == {"a": 2, "b": 0, "c": 0}
    for rounded in (allocate.in_whole_rows, allocate.filling_rows):
        assert rounded(scores, 2, allocate=allocate.uniform) == {"a": 2, "b": 0, "c": 0}
    whole = allocate.in_whole_channels(scores, 4, allocate=allocate.uniform)
    assert whole == {"a": 3, "b": 0, "c": 0}


@pytest.mark.parametrize(("scheme", "smallest"), SMALLEST)
def test_more_than_is_left_is_refused(scheme, smallest) -> None:
    scores = ones()
    scores["conv2"][:, 0] = -math.inf
    left = TOTAL - 54
    with pytest.raises(ValueError, match=f"largest feasible number is {left}"):
        scheme(scores, left + 1)
    assert scheme(scores, left) == {"conv1": 108, "conv2": 162, "shortcut": 24, "fc": 30}


@pytest.mark.parametrize(("scheme", "smallest"), SMALLEST)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), first=st.integers(0, TOTAL), second=st.integers(0, TOTAL))
def test_two_turns_are_exact_and_revive_nothing(scheme, smallest, seed, first, second) -> None:
    first, second = max(first, second, smallest), max(min(first, second), smallest)
    scores = noise(seed)
    counts = scheme(scores, first)
    assert sum(counts.values()) == first
    assert all(0 <= counts[name] <= score.numel() for name, score in scores.items())
    for name, score in scores.items():
        score[~patterns.unstructured(score, counts[name])] = -math.inf
    again = scheme(scores, second)
    assert sum(again.values()) == second
    assert all(again[name] <= counts[name] for name in counts)


@settings(max_examples=50, deadline=None)
@given(total=st.integers(21, TOTAL), ablated=st.integers(0, 5))
def test_whole_rows_are_multiples_and_nothing_more_fits(total: int, ablated: int) -> None:
    scores = noise(0)
    scores["conv2"][:ablated] = -math.inf
    total = min(total, TOTAL - 36 * ablated)
    counts = allocate.in_whole_rows(scores, total, allocate=allocate.erk)
    rows = {"conv1": 4, "conv2": 6 - ablated, "shortcut": 6, "fc": 5}
    left = total - sum(counts.values())
    assert left >= 0
    for name, score in scores.items():
        assert counts[name] % rows[name] == 0
        assert counts[name] >= rows[name]
        full = counts[name] == (score > -math.inf).sum()
        assert full or left < rows[name]
        patterns.constant_fan_in(score, counts[name])


def test_rows_of_a_thin_layer_are_paid_for_by_the_others() -> None:
    # by density 0.2 "thin" gets 3 weights for 8 rows; "b" and "a" share what is left, 32 : 16
    scores = ones({"a": (4, 20), "b": (4, 40), "thin": (8, 2)})
    counts = allocate.in_whole_rows(scores, 56, allocate=allocate.uniform)
    assert counts == {"a": 16, "b": 32, "thin": 8}
    assert allocate.filling_rows(scores, 56, allocate=allocate.uniform) == counts


def test_rows_are_refused_where_not_each_can_have_a_weight() -> None:
    scores = ones({"a": (4, 20), "thin": (8, 2)})
    for rounded in (allocate.in_whole_rows, allocate.filling_rows):
        with pytest.raises(ValueError, match=r"cannot keep 11 .* number is 12: 'thin' 8, 'a' 4"):
            rounded(scores, 11, allocate=allocate.uniform)
        assert rounded(scores, 12, allocate=allocate.uniform) == {"a": 4, "thin": 8}
    with pytest.raises(ValueError, match=r"cannot keep 21 .* number is 22: 'a' 20, 'thin' 2"):
        allocate.in_whole_channels(scores, 21, allocate=allocate.uniform)
    assert allocate.in_whole_channels(scores, 22, allocate=allocate.uniform) == {"a": 20, "thin": 2}


@settings(max_examples=50, deadline=None)
@given(total=st.integers(21, TOTAL), seed=st.integers(0, 100))
def test_filled_rows_fit_the_balanced_pattern(total: int, seed: int) -> None:
    scores = noise(seed)
    counts = allocate.filling_rows(scores, total, allocate=allocate.globally)
    assert sum(counts.values()) == total
    for name, score in scores.items():
        assert patterns.balanced(score, counts[name]).flatten(1).any(dim=1).all()


def test_whole_rows_stop_at_the_thinnest_row() -> None:
    scores = {"a": torch.ones(2, 4), "b": torch.ones(2, 4)}
    scores["a"][0, 1:] = -math.inf
    counts = allocate.in_whole_rows(scores, 10, allocate=allocate.uniform)
    assert counts == {"a": 2, "b": 8}


def test_whole_rows_without_spreading_equal_every_recorded_fan_in(vectors) -> None:
    schemes = {"erk": allocate.erk, "uniform": allocate.uniform}
    for case in vectors("fan_in")["cases"]:
        shapes = {str(index): layer[0] for index, layer in enumerate(case["layers"])}
        scores = expanded(shapes)
        size = sum(score.numel() for score in scores.values())
        total, scheme = budget(size, case["sparsity"]), schemes[case["distribution"]]
        counts = allocate.in_whole_rows(scores, total, allocate=scheme, spread=False)
        for name, (shape, _, fan_in) in zip(shapes, case["layers"], strict=True):
            assert counts[name] == fan_in * shape[0]
        assert 1 - sum(counts.values()) / size == pytest.approx(case["global_sparsity"], abs=1e-12)
        # its budgets exceed ours by up to two weights a layer, see the test of ERK above
        assert abs(total - sum(counts.values()) - case["num_lost"]) <= 2 * len(counts)
        spread = allocate.in_whole_rows(scores, total, allocate=scheme)
        growing = [score.shape[0] for name, score in scores.items() if spread[name] < score.numel()]
        assert 0 <= total - sum(spread.values()) < min(growing)
        assert all(spread[name] >= counts[name] for name in counts)


@pytest.mark.parametrize(
    ("shape", "sparsity", "fan_in"),
    # 63, 255 and 19 in the reference: in floating point 1 - 0.9 is a little less than 0.1
    [((512, 640), 0.9, 64), ((1000, 2560), 0.9, 256), ((100, 100), 0.8, 20)],
)
def test_no_weight_per_row_is_lost_to_floating_point(shape, sparsity, fan_in) -> None:
    scores = expanded({"a": shape})
    total = budget(math.prod(shape), sparsity)
    counts = allocate.in_whole_rows(scores, total, allocate=allocate.uniform, spread=False)
    assert counts == {"a": fan_in * shape[0]}


def test_without_spreading_the_rest_is_lost_and_a_layer_is_never_emptied() -> None:
    scores = {"a": torch.ones(4, 3), "b": torch.ones(5, 4), "c": torch.ones(3, 2)}
    scores["b"][0] = -math.inf
    scores["b"][1, 1:] = -math.inf
    without = partial(allocate.in_whole_rows, spread=False)
    fixed = {"a": 11, "b": 9, "c": 5}
    assert without(scores, 25, allocate=lambda scores, total: fixed) == {"a": 8, "b": 4, "c": 3}
    for few in ({"a": 3, "b": 9, "c": 3}, {"a": 0, "b": 12, "c": 3}):
        with pytest.raises(ValueError, match=rf"'a' gets {few['a']} weights for 4 rows.* is 4"):
            without(scores, 15, allocate=lambda scores, total, few=few: few)


def test_whole_channels_fit_the_channel_pattern() -> None:
    scores = noise(0)
    scores["fc"][0, 0] = -math.inf
    counts = allocate.in_whole_channels(scores, 200, allocate=allocate.uniform)
    sizes = {"conv1": 27, "conv2": 36, "shortcut": 4, "fc": 6}
    assert all(counts[name] % size == 0 for name, size in sizes.items())
    assert 0 <= 200 - sum(counts.values()) < 4
    for name, score in scores.items():
        assert patterns.channels(score, counts[name]).sum() == counts[name]
