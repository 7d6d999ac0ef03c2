"""Counts per layer: literal tables, recorded densities, and exactness under any budget."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsekit.core import allocate, patterns

SHAPES = {"conv1": (4, 3, 3, 3), "conv2": (6, 4, 3, 3), "shortcut": (6, 4, 1, 1), "fc": (5, 6)}
TOTAL = sum(math.prod(shape) for shape in SHAPES.values())
RATIOS = {"conv1": 0.5, "conv2": 0.1, "shortcut": 0.9, "fc": 1.0}
SMALLEST = [  # each allocation with the smallest number of weights it can keep
    (allocate.globally, 0),
    (allocate.uniform, 0),
    (allocate.erdos_renyi, 0),
    (allocate.erk, 0),
    (partial(allocate.from_ratios, ratios=RATIOS), 0),
    (allocate.erk_plus, 30),
    (allocate.uniform_plus, 114),
]


def ones(shapes=SHAPES) -> dict[str, torch.Tensor]:
    return {name: torch.ones(shape) for name, shape in shapes.items()}


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


def test_densities_equal_the_recorded_ones(vectors) -> None:
    data = vectors("densities")
    schemes = {"ERK": allocate.erk_densities, "ER": allocate.erdos_renyi_densities}
    checked = 0
    for case, expected in data["cases"].items():
        network, scheme, density = case.rsplit("|", 2)
        shapes, density = data["shapes"][network], float(density.removeprefix("density="))
        if scheme in schemes:
            result = schemes[scheme](shapes, density=density)
            assert list(result.values()) == pytest.approx(expected, abs=1e-9), case
            checked += 1
    assert checked == 16


def test_uniform_counts_follow_the_recorded_densities(vectors) -> None:
    data = vectors("densities")
    network = "cifar_resnet_20|classes=10"
    scores = ones({name: tuple(shape) for name, shape in data["shapes"][network].items()})
    counts = allocate.uniform(scores, 27090)
    expected = data["cases"][f"{network}|uniform|density=0.1"]
    for (name, score), density in zip(scores.items(), expected, strict=True):
        assert abs(counts[name] - density * score.numel()) < 1


def test_erk_equals_the_recorded_networks(vectors) -> None:
    for case in vectors("erk")["cases"]:
        shapes = {name: shape for name, shape, _ in case["layers"]}
        result = allocate.erk_densities(shapes, density=1 - case["sparsity"])
        dense = sorted(name for name, density in result.items() if density == 1.0)
        assert dense == sorted(case["dense_layers"])
        for name, shape, density in case["layers"]:
            # the reference rounds each layer down before it solves for epsilon
            assert result[name] == pytest.approx(density, abs=2e-5)
            if name not in dense:
                epsilon = result[name] * math.prod(shape) / sum(shape)
                assert epsilon == pytest.approx(case["eps"], rel=1e-4)


def test_uniform_plus_spends_the_budget_that_its_reference_misses(vectors) -> None:
    shapes = vectors("densities")["shapes"]["cifar_resnet_20|classes=10"]
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    total, stem, last = sum(sizes.values()), 432, 640
    for density in (0.05, 0.1, 0.2, 0.3, 0.5, 1.0):
        result = allocate.uniform_plus_densities(shapes, density=density)
        common = (density * total - stem) / (total - stem)
        if common < 0.2:
            common = (density * total - stem - 0.2 * last) / (total - stem - last)
        assert result["conv.weight"] == 1.0
        assert result["fc.weight"] == pytest.approx(max(common, 0.2), abs=1e-12)
        assert result["blocks.0.conv1.weight"] == pytest.approx(common, abs=1e-12)
        spent = sum(result[name] * sizes[name] for name in sizes)
        assert spent == pytest.approx(density * total, rel=1e-12)


def test_uniform_plus_without_a_convolution_has_no_dense_layer() -> None:
    result = allocate.uniform_plus_densities({"a": (10, 10), "b": (10, 10)}, density=0.15)
    assert result == pytest.approx({"a": 0.1, "b": 0.2})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: allocate.uniform_plus(ones(), 113), "cannot keep 113 .* smallest .* 114 "),
        (lambda: allocate.uniform_plus(ones(), 107), "cannot keep 107 .* smallest .* 114 "),
        (lambda: allocate.uniform_plus_densities(SHAPES, density=0.2), "sparsity 0.698"),
        (lambda: allocate.erk_plus(ones(), 29), "cannot keep 29 .* smallest .* 30 "),
        (lambda: allocate.erk_plus(ones(), 376, last_density=0.5), "largest .* 363 "),
        (lambda: allocate.erk_plus_densities(SHAPES, density=0.05), "smallest"),
        (lambda: allocate.erk_densities(SHAPES, density=1.1), r"\[0, 1\], got 1.1"),
        (lambda: allocate.erk_plus(ones(), 99, last_density=2), r"\[0, 1\], got 2"),
        (lambda: allocate.from_ratios(ones(), 9, ratios={"fc": 1.0}), "ratios for"),
    ],
)
def test_the_infeasible_is_refused_with_the_feasible(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_uniform_plus_keeps_exactly_its_smallest_feasible_number() -> None:
    counts = allocate.uniform_plus(ones(), 114)
    assert counts == {"conv1": 108, "conv2": 0, "shortcut": 0, "fc": 6}


def test_erk_plus_holds_the_last_layer() -> None:
    result = allocate.erk_plus_densities({"a": (8, 8), "b": (8, 24), "c": (2, 8)}, density=0.3)
    assert result == pytest.approx({"a": 65.6 / 3 / 64, "b": 65.6 * 2 / 3 / 192, "c": 1.0})


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
@given(total=st.integers(0, TOTAL), ablated=st.integers(0, 5))
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
        full = counts[name] == (score > -math.inf).sum()
        assert full or left < rows[name]
        patterns.constant_fan_in(score, counts[name])


def test_whole_rows_stop_at_the_thinnest_row() -> None:
    scores = {"a": torch.ones(2, 4), "b": torch.ones(2, 4)}
    scores["a"][0, 1:] = -math.inf
    counts = allocate.in_whole_rows(scores, 10, allocate=allocate.uniform)
    assert counts == {"a": 2, "b": 8}


def test_whole_rows_reach_the_fan_in_of_the_reference(vectors) -> None:
    for case in vectors("fan_in")["cases"]:
        layers = {str(index): layer for index, layer in enumerate(case["layers"])}
        scores = {name: torch.zeros(()).expand(shape) for name, (shape, _, _) in layers.items()}
        wanted = {
            name: round((1 - sparsity) * scores[name].numel())
            for name, (_, sparsity, _) in layers.items()
        }
        counts = allocate.in_whole_rows(
            scores, sum(wanted.values()), allocate=lambda scores, total, wanted=wanted: wanted
        )
        for name, (shape, _, fan_in) in layers.items():
            # the reference leaves what it rounds down; ours also goes to layers with few rows
            assert 0 <= counts[name] // shape[0] - fan_in <= 3
        lost = sum(wanted.values()) - sum(counts.values())
        growing = [name for name, score in scores.items() if counts[name] < score.numel()]
        assert 0 <= lost < min(scores[name].shape[0] for name in growing)


def test_whole_channels_fit_the_channel_pattern() -> None:
    scores = noise(0)
    scores["fc"][0, 0] = -math.inf
    counts = allocate.in_whole_channels(scores, 200, allocate=allocate.uniform)
    sizes = {"conv1": 27, "conv2": 36, "shortcut": 4, "fc": 6}
    assert all(counts[name] % size == 0 for name, size in sizes.items())
    assert 0 <= 200 - sum(counts.values()) < 4
    for name, score in scores.items():
        assert patterns.channels(score, counts[name]).sum() == counts[name]
