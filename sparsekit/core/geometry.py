"""How states relate to each other: distances, angles, and the error along a line between two.

All in float64 and one tensor at a time: no state is laid out as one long vector. `names` are those
of the parameters; running statistics of normalisation layers are not part of weight space and are
left out by the caller. ValueError without states or names, for a name that a state lacks, and if
shapes differ.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from sparsekit.core.types import State


def distances(states: Sequence[State], names: Sequence[str]) -> list[list[float]]:
    """Return the L2 distance between every two states: symmetric, 0 on the diagonal.

    >>> distances([{"a": torch.tensor([0.0, 0.0])}, {"a": torch.tensor([3.0, 4.0])}], ["a"])
    [[0.0, 5.0], [5.0, 0.0]]
    """
    _require_alike(states, names)
    return _pairwise(
        len(states),
        lambda i, j: _norm(states[i][name].double() - states[j][name] for name in names),
    )


def angles(states: Sequence[State], names: Sequence[str]) -> list[list[float]]:
    """Return the angle in degrees between every two states, seen from the origin.

    2 atan2(|u - v|, |u + v|) of the unit vectors u and v, accurate at every angle. The arc cosine
    of their product loses half the digits near 0, where states that were trained from the same
    weights may lie. ValueError for a state that is 0 everywhere.

    >>> angles([{"a": torch.tensor([2.0, 0.0])}, {"a": torch.tensor([0.0, 5.0])}], ["a"])
    [[0.0, 90.0], [90.0, 0.0]]
    """
    _require_alike(states, names)
    norms = [_norm(state[name].double() for name in names) for state in states]
    if 0.0 in norms:
        raise ValueError(f"state {norms.index(0.0)} is 0 everywhere, so it has no direction")

    def between(i: int, j: int) -> float:
        apart, along = [], []
        for name in names:
            u, v = (states[index][name].double() / norms[index] for index in (i, j))
            apart.append(_norm([u - v]))
            along.append(_norm([u + v]))
        return math.degrees(2 * math.atan2(math.hypot(*apart), math.hypot(*along)))

    return _pairwise(len(states), between)


def to_barycentre(states: Sequence[State], names: Sequence[str]) -> list[float]:
    """Return the L2 distance of each state to the mean of all: to the uniform soup, unrounded.

    >>> to_barycentre([{"a": torch.tensor([value])} for value in (0.0, 1.0, 5.0)], ["a"])
    [2.0, 1.0, 3.0]
    """
    _require_alike(states, names)
    norms: list[list[float]] = [[] for _ in states]
    for name in names:
        tensors = [state[name] for state in states]
        mean = sum(tensors[1:], start=tensors[0].double()) / len(tensors)
        for parts, tensor in zip(norms, tensors, strict=True):
            parts.append(_norm([mean - tensor]))
    return [math.hypot(*parts) for parts in norms]


def interpolate(a: State, b: State, alpha: float) -> State:
    """Return (1 - alpha) * a + alpha * b: `a` at 0, `b` at 1, a line between and beyond.

    Linear mode connectivity walks along it (Frankle et al. 2020).

    >>> interpolate({"a": torch.tensor([0.0])}, {"a": torch.tensor([4.0])}, 0.25)
    {'a': tensor([1.])}
    """
    _require_alike([a, b], sorted({*a, *b}))
    return {name: _mix(tensor, b[name], alpha) for name, tensor in a.items()}


def _mix(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    if not a.is_floating_point():
        return a.clone()
    return ((1 - alpha) * a.double() + alpha * b.double()).to(a.dtype)


def instability(errors: Sequence[float]) -> float:
    """Return by how much the highest error on the line between two networks exceeds the mean end.

    max over alpha of E(alpha) - (E(0) + E(1)) / 2, the linear interpolation instability of Frankle
    et al. 2020 (arXiv 1912.05671): two copies trained from one state with different noise are
    linearly connected where it is about 0. `errors` are in the order of alpha, the ends included.
    ValueError for fewer than two or NaN.

    >>> instability([0.125, 0.5, 0.25])
    0.3125
    """
    _require_errors(errors)
    return max(errors) - (errors[0] + errors[-1]) / 2


def barrier(alphas: Sequence[float], errors: Sequence[float]) -> float:
    """Return by how much the error at most exceeds the straight line between the ends.

    max over alpha of E(alpha) - ((1 - alpha) E(0) + alpha E(1)). Unlike `instability` it is 0 where
    the error goes straight from one end to a worse one. ValueError unless there is an error for
    every alpha and the alphas ascend from 0 to 1.

    >>> barrier([0.0, 0.5, 1.0], [0.125, 0.5, 0.375])
    0.25
    """
    _require_errors(errors)
    if len(alphas) != len(errors):
        raise ValueError(f"expected an error for each of {len(alphas)} alphas, got {len(errors)}")
    ascending = all(low < high for low, high in itertools.pairwise(alphas))
    if not ascending or (alphas[0], alphas[-1]) != (0.0, 1.0):
        raise ValueError(f"alphas must ascend from 0 to 1, got {list(alphas)}")
    first, last = errors[0], errors[-1]
    return max(
        error - ((1 - alpha) * first + alpha * last)
        for alpha, error in zip(alphas, errors, strict=True)
    )


def _require_errors(errors: Sequence[float]) -> None:
    if len(errors) < 2 or any(math.isnan(error) for error in errors):
        raise ValueError(f"expected two errors or more, none of them NaN, got {list(errors)}")


def _norm(tensors: Iterable[Tensor]) -> float:
    return math.hypot(*(float(torch.linalg.vector_norm(tensor)) for tensor in tensors))


def _pairwise(num: int, measure: Callable[[int, int], float]) -> list[list[float]]:
    """Return the symmetric matrix of a measure that is 0 between a thing and itself."""
    matrix = [[0.0] * num for _ in range(num)]
    for i, j in itertools.combinations(range(num), 2):
        matrix[i][j] = matrix[j][i] = measure(i, j)
    return matrix


def _require_alike(states: Sequence[State], names: Sequence[str]) -> None:
    if not states or not names:
        raise ValueError(
            f"got {len(states)} states and {len(names)} names, needed are some of each"
        )
    for state in states:
        missing = [name for name in names if name not in state]
        if missing:
            raise ValueError(f"no tensors {missing} in a state with {sorted(state)}")
        for name in names:
            if state[name].shape != states[0][name].shape:
                raise ValueError(
                    f"{name!r} has shape {tuple(states[0][name].shape)} in one state, "
                    f"{tuple(state[name].shape)} in another"
                )
