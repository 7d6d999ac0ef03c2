"""From several states to one: (states, score) -> state.

Floating tensors are averaged in float64 and cast back, so that reduced precision loses nothing on
the way; integer tensors (batch counters) come from the first state. Running statistics of
normalisation layers mean nothing after averaging and must be estimated anew by the caller. States
that share a mask keep it. ValueError if names or shapes differ.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sparsekit.core.types import State


def single(states: Sequence[State], score: Callable[[State], float]) -> State:
    """Return the only state. ValueError if there is not exactly one.

    >>> single([{"a": torch.tensor([1.0])}], lambda state: 0.0)
    {'a': tensor([1.])}
    """
    if len(states) != 1:
        raise ValueError(f"expected a single state, got {len(states)}")
    return dict(states[0])


def uniform_soup(states: Sequence[State], score: Callable[[State], float]) -> State:
    """Return the mean of all states (Wortsman et al. 2022; sparse: Zimmer et al. 2024).

    >>> uniform_soup([{"a": torch.tensor([1.0])}, {"a": torch.tensor([4.0])}], lambda state: 0.0)
    {'a': tensor([2.5000])}
    """
    if not states:
        raise ValueError("the mean of no states is not defined")
    for state in states[1:]:
        _require_alike(states[0], state)
    return {name: _mean([state[name] for state in states]) for name in states[0]}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first.clone()
    # from the first and not from zero: the mean of one state has that state's bits, -0.0 included
    total = first.to(torch.float64, copy=True)
    for tensor in tensors[1:]:
        total += tensor
    return (total / len(tensors)).to(first.dtype)


def greedy_soup(states: Sequence[State], score: Callable[[State], float]) -> State:
    """Return the mean of the states that do not lower the validation score.

    Wortsman et al. 2022, recipe 1; sparse: Zimmer et al. 2024. The candidates are ranked once by
    `score` (higher = better, ties in their order). The best one starts the soup; each next one
    stays if the mean with it scores at least the best so far. Every soup is the equally weighted
    mean of the raw candidates in it. ValueError for a score of NaN.

    >>> states = [{"a": torch.tensor([value])} for value in (0.0, 1.0, 3.0)]
    >>> greedy_soup(states, lambda state: -abs(float(state["a"]) - 0.6))
    {'a': tensor([0.5000])}
    """
    scores = [score(state) for state in states]
    if any(math.isnan(value) for value in scores):
        raise ValueError(f"a candidate scored NaN: {scores}")
    ranked = sorted(range(len(states)), key=lambda index: -scores[index])
    chosen, best = ranked[:1], max(scores, default=0.0)
    for index in ranked[1:]:
        attempt = score(_soup(states, [*chosen, index], score))
        if attempt >= best:
            chosen, best = [*chosen, index], attempt
    return _soup(states, chosen, score)


def _soup(states: Sequence[State], chosen: list[int], score: Callable[[State], float]) -> State:
    return uniform_soup([states[index] for index in chosen], score)


def running_mean(mean: State, count: int, new: State) -> State:
    """Return the mean of `count` states and `new`, given the `mean` of the `count`.

    mean + (new - mean) / (count + 1), kept in float64 (Izmailov et al. 2018). With a count of 0
    `mean` is not looked at and may be empty.

    >>> running_mean({"a": torch.tensor([1.0])}, 1, {"a": torch.tensor([2.0])})
    {'a': tensor([1.5000], dtype=torch.float64)}
    """
    if count < 0:
        raise ValueError(f"count must be 0 or more, got {count}")
    if count == 0:
        return {name: _widen(tensor).clone() for name, tensor in new.items()}
    _require_alike(mean, new)
    return {name: _advance(mean[name], count, tensor) for name, tensor in new.items()}


def _advance(mean: Tensor, count: int, new: Tensor) -> Tensor:
    if not mean.is_floating_point():
        return mean.clone()
    return _widen(mean) + (_widen(new) - _widen(mean)) / (count + 1)


def _widen(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def interpolate(a: State, b: State, alpha: float) -> State:
    """Return (1 - alpha) * a + alpha * b: `a` at 0, `b` at 1, a line between and beyond.

    Linear mode connectivity walks along it (Frankle et al. 2020).

    >>> interpolate({"a": torch.tensor([0.0])}, {"a": torch.tensor([4.0])}, 0.25)
    {'a': tensor([1.])}
    """
    _require_alike(a, b)
    return {name: _mix(tensor, b[name], alpha) for name, tensor in a.items()}


def _mix(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    if not a.is_floating_point():
        return a.clone()
    return ((1 - alpha) * a.double() + alpha * b.double()).to(a.dtype)


def _require_alike(first: State, other: State) -> None:
    if set(first) != set(other):
        raise ValueError(f"states differ in {sorted(set(first) ^ set(other))}")
    for name, tensor in first.items():
        if tensor.shape != other[name].shape:
            raise ValueError(
                f"{name!r} has shape {tuple(tensor.shape)} in one state, "
                f"{tuple(other[name].shape)} in another"
            )
