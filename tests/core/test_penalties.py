"""Penalties: literal tables, and that the proximal step is the minimiser it claims to be."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparsekit.core.penalties import GroupLasso
from sparsekit.core.types import Masks, Weights


def every(weights: Weights) -> Masks:
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}


def shrunk(weight: Tensor, *, strength: float, rate: float) -> Tensor:
    weights = {"a": weight}
    lasso = GroupLasso(strength=strength)
    return lasso.shrink(weights, every(weights), step=0, num_steps=1, rate=rate)["a"]


@pytest.mark.parametrize(
    ("weight", "strength", "rate", "expected"),
    [
        ([[3.0, 4.0]], 1 / math.sqrt(2), 1.0, [[2.4, 3.2]]),  # a length of 5, by 1
        ([[3.0, 4.0]], 2 / math.sqrt(2), 0.5, [[2.4, 3.2]]),
        ([[3.0, 4.0], [0.3, 0.4]], 1 / math.sqrt(2), 1.0, [[2.4, 3.2], [0.0, 0.0]]),
        ([[0.0, 0.0]], 1.0, 1.0, [[0.0, 0.0]]),
        ([[3.0, 4.0]], 0.0, 1.0, [[3.0, 4.0]]),
        ([[3.0, 4.0]], 1.0, 0.0, [[3.0, 4.0]]),
        ([[[[3.0]], [[0.0]]], [[[0.0]], [[-4.0]]]], 1 / math.sqrt(2), 1.0,
         [[[[2.0]], [[0.0]]], [[[0.0]], [[-3.0]]]]),
    ],
)  # fmt: skip
def test_rows_are_shortened(
    weight: list[object], strength: float, rate: float, expected: list[object]
) -> None:
    result = shrunk(torch.tensor(weight), strength=strength, rate=rate)
    assert torch.allclose(result, torch.tensor(expected), rtol=0, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 2.0), st.floats(0.01, 2.0))
def test_the_step_is_proximal(seed: int, strength: float, rate: float) -> None:
    """0.5 ||x - w||^2 + rate * strength * sum sqrt(size) ||row of x|| is smallest there."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 4, generator=draw, dtype=torch.float64)
    best = shrunk(weight, strength=strength, rate=rate)

    def cost(x: Tensor) -> float:
        penalty = rate * strength * math.sqrt(4) * x.norm(dim=1).sum()
        return float(0.5 * (x - weight).square().sum() + penalty)

    for _ in range(20):
        other = best + 0.01 * torch.randn(3, 4, generator=draw, dtype=torch.float64)
        assert cost(best) <= cost(other)
    assert cost(best) < cost(weight)


def test_the_gradient_is_that_of_the_penalty() -> None:
    weight = torch.randn(
        3, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    weight.requires_grad_()
    (0.3 * math.sqrt(8) * weight.flatten(1).norm(dim=1).sum()).backward()
    weights = {"a": weight.detach(), "bias": torch.ones(3)}
    lasso = GroupLasso(strength=0.3, by="gradient")
    asked = {"step": 0, "num_steps": 1}
    targets = lasso.targets(weights, {"a": torch.ones(3, 2, 2, 2, dtype=torch.bool)})
    added = lasso.gradients(weights, targets, **asked, rate=0.1)
    assert weight.grad is not None
    assert torch.allclose(added["a"], weight.grad)
    assert added.keys() == {"a"}
    assert lasso.shrink(weights, targets, **asked, rate=0.1) == {}
    proximal = GroupLasso(strength=0.3)
    assert proximal.gradients(weights, targets, **asked, rate=0.1) == {}


def test_a_row_of_zeros_has_no_gradient() -> None:
    weights = {"a": torch.tensor([[0.0, 0.0], [3.0, -4.0]])}
    lasso = GroupLasso(strength=1 / math.sqrt(2), by="gradient")
    added = lasso.gradients(weights, every(weights), step=0, num_steps=1, rate=0.1)["a"]
    assert torch.allclose(added, torch.tensor([[0.0, 0.0], [0.6, -0.8]]))


def test_vectors_have_no_rows() -> None:
    masks = {"scale": torch.ones(3, dtype=torch.bool)}
    with pytest.raises(ValueError, match=r"needs rows, and none of \['scale'\]"):
        GroupLasso(strength=1.0).targets({}, masks)


@pytest.mark.parametrize("strength", [-1.0, math.inf, math.nan])
def test_impossible_strengths_are_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength="):
        GroupLasso(strength=strength)


def test_unknown_ways_are_refused() -> None:
    with pytest.raises(ValueError, match="by='prox' is not one of 'proximal', 'gradient'"):
        GroupLasso(strength=1.0, by="prox")  # type: ignore[arg-type]
