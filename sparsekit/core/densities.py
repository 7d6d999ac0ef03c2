"""Layerwise densities in closed form: functions of the shapes alone, before any rounding.

`shapes` maps names to shapes (out, in, *kernel) in the order of the network; `density` is the kept
fraction of all these weights. Every scheme spends the whole density: the sum of density_l * N_l is
density * N. ValueError, naming the nearest feasible density, where the scheme cannot.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial

from sparsekit.core.counts import decimal, quotas

Shapes = Mapping[str, Sequence[int]]
Quotas = dict[str, Fraction]
QuotaRule = Callable[[Shapes, Fraction, int], Quotas]
"""(shapes, total, least) -> quotas; every layer gets `least` weights or all it has."""

_DIGITS = 10**6


def erdos_renyi_densities(shapes: Shapes, *, density: float) -> dict[str, float]:
    """Return densities proportional to (in + out) / (in * out); kernels are ignored (ER).

    Mocanu et al. 2018. Layers whose density would exceed 1 are dense, the others share the rest.

    >>> erdos_renyi_densities({"a": (4, 4), "b": (8, 8)}, density=0.3)
    {'a': 0.5, 'b': 0.25}
    """
    return _densities(shapes, density, erdos_renyi_quotas)


def erk_densities(shapes: Shapes, *, density: float) -> dict[str, float]:
    """Return densities proportional to sum(shape) / prod(shape) (Erdos-Renyi-Kernel).

    Evci et al. 2020, section 3. Layers whose density would exceed 1 are dense, the others share
    the rest.

    >>> erk_densities({"a": (4, 2, 3, 3), "b": (4, 12)}, density=0.4)
    {'a': 0.2857142857142857, 'b': 0.5714285714285714}
    """
    return _densities(shapes, density, erk_quotas)


def erk_plus_densities(
    shapes: Shapes, *, density: float, last_density: float = 1.0
) -> dict[str, float]:
    """Return ERK densities with the last layer fixed at `last_density` (Liu et al. 2022, ERK+).

    >>> erk_plus_densities({"a": (8, 8), "b": (2, 8)}, density=0.5)
    {'a': 0.375, 'b': 1.0}
    """
    rule = partial(erk_plus_quotas, last_density=last_density)
    return _densities(shapes, density, rule)


def uniform_plus_densities(
    shapes: Shapes, *, density: float, last_density: float = 0.2
) -> dict[str, float]:
    """Return equal densities, but a dense first convolution and at least 0.2 in the last layer.

    Gale et al. 2019. The first convolution is the first weight with a kernel (three dimensions or
    more); a network without one has no dense layer. Everything else keeps the common density
    that spends the budget exactly; where that is below `last_density`, the last layer is held
    there and the rest shares what is left.

    >>> uniform_plus_densities({"a": (2, 1, 2, 2), "b": (4, 8), "c": (2, 5)}, density=0.28)
    {'a': 1.0, 'b': 0.125, 'c': 0.2}
    """
    rule = partial(uniform_plus_quotas, last_density=last_density)
    return _densities(shapes, density, rule)


def erdos_renyi_quotas(shapes: Shapes, total: Fraction, least: int = 0) -> Quotas:
    """Return the exact, unrounded number of weights ER gives each layer, `least` or more."""
    # A vector has one input. Layers without weights have no share.
    ends = {name: (*shape, 1, 1)[:2] for name, shape in shapes.items() if math.prod(shape)}
    shares = {
        name: Fraction(sum(ends[name]) * math.prod(shape), math.prod(ends[name]))
        if name in ends
        else Fraction(0)
        for name, shape in shapes.items()
    }
    return _within(shares, shapes, total, least)


def erk_quotas(shapes: Shapes, total: Fraction, least: int = 0) -> Quotas:
    """Return the exact, unrounded number of weights ERK gives each layer, `least` or more."""
    # density proportional to sum / prod, so the number of weights is proportional to sum
    # of layers that have any; a scalar is one weight
    shares = {n: sum(shape) or 1 if math.prod(shape) else 0 for n, shape in shapes.items()}
    return _within(shares, shapes, total, least)


def erk_plus_quotas(
    shapes: Shapes, total: Fraction, least: int = 0, *, last_density: float
) -> Quotas:
    """Return the exact, unrounded number of weights ERK+ gives each layer, `least` or more."""
    sizes, last = num_weights(shapes), list(shapes)[-1]
    low = _least(sizes, least)
    held = {last: max(_portion(last_density) * sizes[last], Fraction(low[last]))}
    rest = {name: shape for name, shape in shapes.items() if name != last}
    fewest = held[last] + sum(low[name] for name in rest)
    _require(total, fewest, held[last] + sum(sizes[name] for name in rest), sizes)
    return erk_quotas(rest, total - held[last], least) | held


def uniform_plus_quotas(
    shapes: Shapes, total: Fraction, least: int = 0, *, last_density: float
) -> Quotas:
    """Return the exact, unrounded number of weights uniform+ gives each layer, `least` or more."""
    sizes, last = num_weights(shapes), list(shapes)[-1]
    low = _least(sizes, least)
    convolutions = [name for name in shapes if len(shapes[name]) > 2]
    dense = {name: Fraction(sizes[name]) for name in convolutions[:1]}
    held = {last: max(_portion(last_density) * sizes[last], Fraction(low[last]))} | dense
    _require(total, sum((low | held).values()), sum(sizes.values()), sizes)
    spread = _spread(sizes, total, dense, low)
    return spread if spread[last] >= held[last] else _spread(sizes, total, held, low)


def num_weights(shapes: Shapes) -> dict[str, int]:
    """Return the number of weights of each layer."""
    return {name: math.prod(shape) for name, shape in shapes.items()}


def _least(sizes: Mapping[str, int], least: int) -> dict[str, int]:
    """Return the number that every layer keeps at least: `least`, or all of a smaller one."""
    return {name: min(least, size) for name, size in sizes.items()}


def _within(
    shares: Mapping[str, int | Fraction], shapes: Shapes, total: Fraction, least: int
) -> Quotas:
    sizes = num_weights(shapes)
    return quotas(shares, total, capacity=sizes, least=_least(sizes, least))


def _spread(
    sizes: Mapping[str, int], total: Fraction, held: Quotas, least: Mapping[str, int]
) -> Quotas:
    free = {name: size for name, size in sizes.items() if name not in held}
    low = {name: least[name] for name in free}
    rest = quotas(free, total - sum(held.values()), capacity=free, least=low)
    return {name: held[name] if name in held else rest[name] for name in sizes}


def _portion(density: float) -> Fraction:
    if not 0 <= density <= 1:
        raise ValueError(f"a density must lie in [0, 1], got {density}")
    return decimal(density)


def _require(
    total: Fraction, fewest: Fraction | int, most: Fraction | int, sizes: Mapping[str, int]
) -> None:
    """Raise unless fewest <= total <= most."""
    if fewest <= total <= most:
        return
    size = sum(sizes.values())
    # Rounded to the feasible side, so that what is named can be asked for
    if total < fewest:
        word, bound = "smallest", math.ceil(fewest)
        density = Fraction(math.ceil(Fraction(bound, size) * _DIGITS), _DIGITS)
    else:
        word, bound = "largest", math.floor(most)
        density = Fraction(math.floor(Fraction(bound, size) * _DIGITS), _DIGITS)
    raise ValueError(
        f"cannot keep {float(total):g} of {size} weights: the {word} feasible "
        f"number is {bound} (density {float(density)}, sparsity {float(1 - density)})"
    )


def _densities(shapes: Shapes, density: float, rule: QuotaRule) -> dict[str, float]:
    sizes = num_weights(shapes)
    parts = rule(shapes, _portion(density) * sum(sizes.values()), 0)
    return {name: float(part / sizes[name]) for name, part in parts.items()}
