"""Views: literal tables of N:M, exact counts, and what gradients are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparsekit.core import patterns
from sparsekit.core.counts import budget
from sparsekit.core.prune import total_kept
from sparsekit.core.types import Masks, Weights
from sparsekit.core.views import StraightThrough

VECTORS = json.loads((Path(__file__).parent / "vectors" / "nm.json").read_text())


def dense(weights: Weights) -> Masks:
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}


def seen_of(view: StraightThrough, weight: Tensor) -> Tensor:
    return view.view({"a": weight}, dense({"a": weight}), 0)["a"]


def test_sr_ste_of_the_authors() -> None:
    """Forward pass and gradient of their autograd function (NM-sparsity/NM-sparsity 3cebd6b)."""
    case = VECTORS["srste_2:4"]
    weight = torch.tensor(case["W"], requires_grad=True)
    view = StraightThrough(n=2, m=4, decay=case["lambda"])
    seen = view.view({"a": weight}, dense({"a": weight}), 0)
    assert torch.equal(seen["a"], torch.tensor(case["forward"]))
    assert torch.equal(seen["a"] != 0, torch.tensor(case["mask"]).bool() & (weight != 0))
    seen["a"].backward(torch.tensor(case["upstream_grad"]))
    assert weight.grad is not None
    gradient = weight.grad + view.pull({"a": weight.detach()}, seen, 0)["a"]
    expected = torch.tensor(case["grad_W_lambda2e-4"])
    assert torch.allclose(gradient, expected, rtol=0, atol=1e-8)
    assert not torch.allclose(torch.tensor(case["upstream_grad"]), expected, rtol=0, atol=1e-8)


def test_a_convolution_groups_input_channels() -> None:
    case = VECTORS["conv"]
    weight = torch.tensor(case["W"]).view(case["W_shape"])
    seen = seen_of(StraightThrough(n=2, m=4), weight)
    assert seen.flatten().tolist() == case["nhwc_forward"]
    assert seen.flatten().tolist() != case["nchw_forward"]


@pytest.mark.parametrize(
    ("n", "m", "weight", "expected"),
    [
        (2, 4, [[1.0, -2.0, 3.0, -4.0]], [[0.0, 0.0, 3.0, -4.0]]),
        (1, 4, [[1.0, -2.0, 3.0, -4.0]], [[0.0, 0.0, 0.0, -4.0]]),
        (2, 4, [[1.0, -1.0, 1.0, 1.0]], [[1.0, -1.0, 0.0, 0.0]]),  # ties: the lower index
        (4, 8, [[8.0, 1, 7, 2, 6, 3, 5, 4]], [[8.0, 0, 7, 0, 6, 0, 5, 0]]),
        (4, 4, [[1.0, 0.0, -2.0, 3.0]], [[1.0, 0.0, -2.0, 3.0]]),
        (1, 2, [[1e-40, 0.0, 3e38, -2e38]], [[1e-40, 0.0, 3e38, 0.0]]),
    ],
)
def test_what_is_seen(
    n: int, m: int, weight: list[list[float]], expected: list[list[float]]
) -> None:
    seen = seen_of(StraightThrough(n=n, m=m), torch.tensor(weight))
    assert torch.equal(seen, torch.tensor(expected))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([(1, 2), (2, 4), (1, 4), (4, 8), (2, 3)]), st.integers(0, 10**6))
def test_exactly_n_of_every_m_in_every_layer(pair: tuple[int, int], seed: int) -> None:
    n, m = pair
    draw = torch.Generator().manual_seed(seed)
    shapes = {"linear": (5, 2 * m), "conv": (3, m, 2, 3)}
    weights = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    view = StraightThrough(n=n, m=m, decay=0.1)
    state, masks = view.project(weights, dense(weights))
    for name, mask in masks.items():
        assert int(mask.sum()) == mask.numel() * n // m
        groups = mask.movedim(1, -1).reshape(-1, m)
        assert bool((groups.sum(dim=1) == n).all())
        pattern = patterns.n_of_m(weights[name].abs(), int(mask.sum()), n=n, m=m)
        assert torch.equal(mask, pattern)
        assert torch.equal(state[name], weights[name].masked_fill(~mask, 0.0))
    seen = view.view(weights, dense(weights), 0)
    assert all(torch.equal(seen[name], state[name]) for name in state)
    total = sum(mask.numel() for mask in masks.values())
    assert budget(total, view.sparsity) == total_kept(masks)
    pulled = view.pull(weights, seen, 0)
    for name, mask in masks.items():
        assert torch.equal(pulled[name], 0.1 * (~mask * weights[name]))


def test_gradients_pass_straight_to_weights_that_are_not_seen() -> None:
    weight = torch.tensor([[3.0, 1.0, 2.0, -4.0]], requires_grad=True)
    upstream = torch.tensor([[0.5, -1.5, 2.5, 3.5]])
    seen_of(StraightThrough(n=2, m=4), weight).backward(upstream)
    assert weight.grad is not None
    assert torch.equal(weight.grad, upstream)


def test_what_masks_prune_stays_pruned() -> None:
    weights = {"a": torch.tensor([[9.0, 1.0, 2.0, 3.0]])}
    masks = {"a": torch.tensor([[False, True, True, True]])}
    view = StraightThrough(n=2, m=4)
    state, kept = view.project(weights, masks)
    assert kept["a"].tolist() == [[False, False, True, True]]
    assert state["a"].tolist() == [[0.0, 0.0, 2.0, 3.0]]
    assert view.view(weights, masks, 0)["a"].tolist() == state["a"].tolist()


def test_arguments_are_left_as_they_are() -> None:
    weights = {"a": torch.arange(8.0).view(2, 4)}
    masks, before = dense(weights), weights["a"].clone()
    view = StraightThrough(n=2, m=4, decay=0.5)
    view.pull(weights, view.view(weights, masks, 0), 0)
    view.project(weights, masks)
    assert torch.equal(weights["a"], before)
    assert bool(masks["a"].all())


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 10), r"'a' has 10 inputs, .* groups of m=4; .*prunable.exclude=\[a\].* m of \[2\]"),
        ((8, 3, 3, 3), r"'a' has 3 inputs, .*prunable.exclude=\[a\]"),
        ((8,), r"'a' of shape \(8,\) has no inputs to group; .*prunable.exclude=\[a\]"),
    ],
)
def test_layers_that_do_not_divide_are_named_with_a_way_out(
    shape: tuple[int, ...], message: str
) -> None:
    weights = {"b": torch.ones(2, 8), "a": torch.ones(shape)}
    with pytest.raises(ValueError, match=message):
        StraightThrough(n=2, m=4).rehearse(weights, dense(weights))


@pytest.mark.parametrize("pair", [(0, 4), (5, 4), (-1, 2)])
def test_impossible_groups_are_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"0 < n <= m, got n={pair[0]}, m={pair[1]}"):
        StraightThrough(n=pair[0], m=pair[1])


@pytest.mark.parametrize("decay", [-1e-4, float("inf"), float("nan")])
def test_impossible_decays_are_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay="):
        StraightThrough(n=2, m=4, decay=decay)
