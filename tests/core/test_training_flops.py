"""Training FLOPs of a fit, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from sparsekit.core.schedules import cubic
from sparsekit.core.training_flops import DENSE, Shares, flops_per_example, shares_of_masks

# LeNet-300-100: two operations for each weight and example.
SIZES = {"fc1": 235_200, "fc2": 30_000, "fc3": 1_000}
FORWARD = {name: 2 * size for name, size in SIZES.items()}
KEPT = {"uniform": (0.1, 0.1, 0.1), "dense head": (0.1, 0.1, 1.0)}
STATIC = {"uniform": 159_720.0, "dense head": 165_120.0}
EVERY_GRADIENT = {"uniform": 638_880.0, "dense head": 642_480.0}
STRAIGHT_THROUGH = {"uniform": 1_118_040.0, "dense head": 1_119_840.0}
RIGL = {
    "uniform": {1: 399_300.0, 10: 203_280.0, 100: 164_464.158416},
    "dense head": {1: 403_800.0, 10: 208_516.363636, 100: 169_846.336634},
}


def kept(case: str) -> dict[str, int]:
    return {n: round(s * d) for (n, s), d in zip(SIZES.items(), KEPT[case], strict=True)}


def cost(case: str, num_passes: int, dense_passes: list[int]) -> float:
    shares = shares_of_masks(
        [(0, kept(case))],
        SIZES,
        num_passes=num_passes,
        dense_passes=dense_passes,
        dense_layers=list(SIZES),
    )
    return flops_per_example(FORWARD, 0, shares)


def test_a_dense_step_is_three_forward_passes() -> None:
    assert flops_per_example(FORWARD, 0, {}) == 1_597_200
    assert flops_per_example({}, 7, {}) == 21


@pytest.mark.parametrize("case", KEPT)
def test_static_masks_cost_three_sparse_passes(case: str) -> None:
    assert cost(case, 50, []) == pytest.approx(STATIC[case], rel=1e-12)


@pytest.mark.parametrize("case", KEPT)
def test_a_dense_gradient_replaces_one_of_the_three(case: str) -> None:
    assert cost(case, 10, list(range(10))) == pytest.approx(EVERY_GRADIENT[case], rel=1e-12)
    for interval, expected in RIGL[case].items():
        period = interval + 1  # as Evci et al. count: so many steps, and one more for the update
        passes = list(range(interval, 5 * period, period))
        assert cost(case, 5 * period, passes) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("case", KEPT)
def test_straight_through_is_sparse_in_the_forward_pass_alone(case: str) -> None:
    densities = dict(zip(SIZES, KEPT[case], strict=True))
    shares = {name: Shares(forward=density) for name, density in densities.items()}
    assert flops_per_example(FORWARD, 0, shares) == pytest.approx(STRAIGHT_THROUGH[case], rel=1e-12)


def test_a_ramp_costs_what_is_left_at_each_step() -> None:
    """Cubic from 0 to 0.9 between steps 200 and 700 of 1000, every 50: 0.416125 of dense."""
    sizes = {"a": 10**6}
    changes = [(0, {"a": 10**6})]
    for step in range(200, 701, 50):
        sparsity = cubic(step - 200, start=0.0, stop=0.9, steps=500)
        changes.append((step, {"a": round(10**6 * (1 - sparsity))}))
    share = shares_of_masks(changes, sizes, num_passes=1000)["a"]
    assert share.forward == pytest.approx(0.416125, abs=1e-9)
    assert share == Shares(share.forward, share.forward, share.forward)


def test_dense_gradients_count_what_is_pruned_in_that_very_pass() -> None:
    changes = [(0, {"a": 4, "b": 8}), (2, {"a": 2, "b": 8}), (9, {"a": 0, "b": 0})]
    shares = shares_of_masks(
        changes, {"a": 8, "b": 8}, num_passes=4, dense_passes=[1, 2, 3], dense_layers=["a"]
    )
    mean = (4 + 4 + 2 + 2) / 32
    assert shares["a"] == Shares(mean, mean, mean + (4 + 6 + 6) / 32)
    assert shares["b"] == DENSE
