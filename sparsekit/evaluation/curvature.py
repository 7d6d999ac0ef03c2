"""The trace of the Hessian from its products with random signs (Hutchinson 1990)."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable

import torch

from sparsekit.core.types import Masks, Weights

LEAST_PROBES = 10
Product = Callable[[Weights], Weights]


@dataclasses.dataclass(frozen=True)
class Trace:
    """Mean of z' H z over probes z, its standard error, and the single values."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def error(self) -> float:
        """Standard error of the mean; NaN for one probe."""
        if len(self.values) < 2:
            return math.nan
        return statistics.stdev(self.values) / math.sqrt(len(self.values))


def estimate(product: Product, probe: Weights) -> float:
    """Return z' H z, in float64."""
    found = product(probe)
    return float(sum((probe[name].double() * found[name].double()).sum() for name in probe))


def trace(
    product: Product,
    masks: Masks,
    *,
    seed: int,
    most: int = 100,
    tolerance: float = 0.05,
) -> Trace:
    """Estimate the trace of the Hessian over the kept weights.

    `product` multiplies the Hessian with a direction. Probes are signs drawn by `seed`, 0 where a
    weight is pruned, on both sides. The variance of a probe is 2 * sum_{i != j} H_ij^2. Stops after
    `most` probes, or once the standard error is at most `tolerance` of the mean, ten at least.
    """
    generator = torch.Generator().manual_seed(seed)
    values: list[float] = []
    while len(values) < most:
        values.append(estimate(product, signs(masks, generator)))
        found = Trace(tuple(values))
        if len(values) >= LEAST_PROBES and found.error <= tolerance * abs(found.mean):
            break
    return Trace(tuple(values))


def signs(masks: Masks, generator: torch.Generator) -> Weights:
    """Draw -1 or 1 for every kept weight, 0 for the others."""
    return {
        name: (2.0 * torch.randint(2, mask.shape, generator=generator) - 1) * mask
        for name, mask in masks.items()
    }
