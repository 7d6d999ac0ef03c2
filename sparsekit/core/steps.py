"""Counts in whole steps: rows of equal fan-in, or whole rows, at least one step to each layer."""

import math
from collections.abc import Mapping
from fractions import Fraction

from torch import Tensor

from sparsekit.core import selection
from sparsekit.core.counts import quotas
from sparsekit.core.types import Counts


def alive_per_row(score: Tensor) -> Tensor:
    """Return how many scores of each row are above -inf."""
    return (selection.rows(score) > -math.inf).sum(dim=1)


def require_each(needs: Counts, total: int, *, unit: str) -> None:
    """Raise ValueError, naming the layers, unless `total` is enough for what each `needs`."""
    fewest = sum(needs.values())
    if total < fewest:
        largest = sorted(filter(needs.get, needs), key=lambda name: -needs[name])[:5]
        listed = ", ".join(f"{name!r} {needs[name]}" for name in largest)
        raise ValueError(
            f"cannot keep {total} weights with a {unit} of each layer; the smallest feasible "
            f"number is {fewest}: {listed}{', ...' if len(needs) > 5 else ''}"
        )


def in_steps(targets: Counts, total: int, *, steps: Counts, limits: Counts) -> Counts:
    """Return multiples of `steps`, from 1 to `limits` of them, that sum to `total` or just below.

    A layer whose step or limit is 0 gets nothing.
    """
    wanted = _with_one_step(targets, total, steps=steps, limits=limits)
    num = floors(wanted, steps=steps, limits=limits)
    left = total - sum(num[name] * steps[name] for name in num)
    while True:
        fitting = [name for name in num if num[name] < limits[name] and 0 < steps[name] <= left]
        if not fitting:
            return {name: num[name] * steps[name] for name in num}
        name = max(fitting, key=lambda name: Fraction(wanted[name]) / steps[name] - num[name])
        num[name] += 1
        left -= steps[name]


def _with_one_step(
    targets: Counts, total: int, *, steps: Counts, limits: Counts
) -> Mapping[str, int | Fraction]:
    """Return the targets, scaled down where others need it to have one step each."""
    least = {name: step if limits[name] else 0 for name, step in steps.items()}
    if all(targets[name] >= least[name] for name in targets):
        return targets
    capacity = {n: steps[n] * limits[n] if targets[n] else least[n] for n in targets}
    feasible = min(total, sum(capacity.values()))
    return quotas(targets, Fraction(feasible), capacity=capacity, least=least)


def floors(targets: Mapping[str, int | Fraction], *, steps: Counts, limits: Counts) -> Counts:
    """Return how many whole `steps` fit into each target, at most `limits` of them."""
    return {n: min(int(targets[n] // steps[n]), limits[n]) if steps[n] else 0 for n in targets}
