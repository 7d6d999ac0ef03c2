"""Of a matrix that is known."""

import itertools
import statistics

import pytest
import torch

from sparsekit.core.types import Weights
from sparsekit.evaluation.curvature import Trace, estimate, signs, trace

HESSIAN = torch.tensor(
    [[4.0, 1.0, 0.0, -2.0], [1.0, 3.0, 0.5, 0.0], [0.0, 0.5, -1.0, 1.0], [-2.0, 0.0, 1.0, 2.0]]
)


def product(direction: Weights) -> Weights:
    return {"w": HESSIAN @ direction["w"]}


def test_single_probes() -> None:
    probes = [[1, 1, 1, 1], [1, 1, 1, -1], [1, 1, -1, 1], [1, 1, -1, -1]]
    found = [estimate(product, {"w": torch.tensor(one, dtype=torch.float32)}) for one in probes]
    assert found == [9.0, 13.0, 3.0, 15.0]


@pytest.mark.parametrize(
    ("mask", "expected", "variance"), [([1, 1, 1, 1], 8.0, 25.0), ([1, 1, 0, 1], 9.0, 20.0)]
)
def test_the_mean_over_all_signs_is_the_trace_of_what_is_kept(
    mask: list[int], expected: float, variance: float
) -> None:
    kept = torch.tensor(mask)
    every = [torch.tensor(one) * kept for one in itertools.product([-1.0, 1.0], repeat=4)]
    values = [estimate(product, {"w": one}) for one in every]
    assert statistics.fmean(values) == pytest.approx(expected)
    assert statistics.pvariance(values) == pytest.approx(variance)


def test_it_stops_when_it_knows_enough() -> None:
    masks = {"w": torch.ones(4, dtype=torch.bool)}
    exact = trace(lambda direction: direction, masks, seed=0)
    assert (len(exact.values), exact.mean, exact.error) == (10, 4.0, 0.0)
    found = trace(product, masks, seed=0, most=2000, tolerance=0.05)
    assert 10 < len(found.values) < 2000
    assert found.error <= 0.05 * found.mean
    assert found.mean == pytest.approx(8, abs=4 * found.error)
    assert len(trace(product, masks, seed=0, most=12, tolerance=0).values) == 12


def test_probes_are_signs_of_what_is_kept() -> None:
    mask = torch.rand(1000, generator=torch.Generator().manual_seed(1)) < 0.3
    (drawn,) = signs({"w": mask}, torch.Generator().manual_seed(0)).values()
    assert drawn[~mask].eq(0).all()
    assert drawn[mask].abs().eq(1).all()
    assert abs(float(drawn.sum())) < 4 * mask.sum() ** 0.5


def test_running_means() -> None:
    values = (9.0, 13.0, 3.0, 15.0)
    means = [Trace(values[: count + 1]).mean for count in range(4)]
    assert means == pytest.approx([9.0, 11.0, 8.33333333333, 10.0])
