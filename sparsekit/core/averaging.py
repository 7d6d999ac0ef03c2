"""From several states to one: (states, validate, context) -> state.

Floating tensors are averaged in float64 and cast back, so that reduced precision loses nothing on
the way; integer tensors (batch counters) come from the first state. Running statistics of
normalisation layers mean nothing after averaging and must be estimated anew by the caller. States
that share a mask keep it. ValueError if there is no state, or if names or shapes differ.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sparsekit.core import selection
from sparsekit.core.allocate import globally
from sparsekit.core.counts import budget, decimal
from sparsekit.core.types import Counts, MergeContext, State

Quality = Callable[[State], float]
"""How good a state is on the validation split, higher = better: an accuracy, or minus a loss."""


def single(
    states: Sequence[State], validate: Quality, context: MergeContext | None = None
) -> State:
    """Return the only state. ValueError if there is not exactly one.

    >>> single([{"a": torch.tensor([1.0])}], lambda state: 0.0)
    {'a': tensor([1.])}
    """
    if len(states) != 1:
        raise ValueError(f"expected a single state, got {len(states)}")
    return dict(states[0])


def best(states: Sequence[State], validate: Quality, context: MergeContext | None = None) -> State:
    """Return the best state by validation, of equal ones the first. ValueError for a NaN.

    >>> best([{"a": torch.tensor(1.0)}, {"a": torch.tensor(3.0)}], lambda state: state["a"].item())
    {'a': tensor(3.)}
    """
    qualities = _qualities(states, validate)
    return dict(states[qualities.index(max(qualities))])


def uniform_soup(
    states: Sequence[State], validate: Quality, context: MergeContext | None = None
) -> State:
    """Return the mean of all states (Wortsman et al. 2022; sparse: Zimmer et al. 2024).

    States that are averages themselves weigh as much as the number of snapshots in them, so that
    the result is the mean of all snapshots (SWAMP, Choi et al. 2024, arXiv 2305.14852). ValueError
    if `context` does not count 1 or more snapshots for every state.

    >>> states = [{"a": torch.tensor([1.0])}, {"a": torch.tensor([4.0])}]
    >>> uniform_soup(states, lambda state: 0.0)
    {'a': tensor([2.5000])}
    >>> uniform_soup(states, lambda state: 0.0, MergeContext(base=None, counts=(2, 1)))
    {'a': tensor([2.])}
    """
    return weighted_mean(states, _counts(states, context))


def greedy_soup(
    states: Sequence[State], validate: Quality, context: MergeContext | None = None
) -> State:
    """Return the mean of the states that do not lower the quality.

    Wortsman et al. 2022, recipe 1; sparse: Zimmer et al. 2024. The states are ranked once by
    `validate` (higher = better, ties in their order). The best one starts the soup; each next one
    stays if the mean with it is at least as good as the best so far. Every soup is the mean of the
    raw states in it, weighted as `uniform_soup` weights them: equally, unless their numbers of
    snapshots differ. ValueError for a quality of NaN.

    >>> states = [{"a": torch.tensor([value])} for value in (0.0, 1.0, 3.0)]
    >>> greedy_soup(states, lambda state: -abs(float(state["a"]) - 0.6))
    {'a': tensor([0.5000])}
    """
    counts, qualities = _counts(states, context), _qualities(states, validate)
    ranked = sorted(range(len(states)), key=lambda index: -qualities[index])
    chosen, highest = ranked[:1], qualities[ranked[0]]
    for index in ranked[1:]:
        attempt = validate(_soup(states, counts, [*chosen, index]))
        if attempt >= highest:
            chosen, highest = [*chosen, index], attempt
    return _soup(states, counts, chosen)


def _soup(states: Sequence[State], counts: Sequence[int], chosen: list[int]) -> State:
    return weighted_mean([states[index] for index in chosen], [counts[index] for index in chosen])


def weighted_soup(
    states: Sequence[State],
    validate: Quality,
    context: MergeContext | None = None,
    *,
    exponent: float = 1.0,
) -> State:
    """Return the mean of the states, each weighted by (its quality / the best)^exponent.

    Quality is what `validate` returns, higher = better: an accuracy, or minus a loss. If the best
    is above 0, those at 0 or below weigh nothing (an R2 of 0 is what the mean of the targets has);
    if all are below 0 the ratio is best / quality, so that half the loss weighs twice as much. An
    exponent of 0 gives the uniform soup; the larger it is, the closer to `best`. Numbers of
    snapshots are ignored. ValueError unless 0 <= exponent < infinity, for a NaN, and if the
    best is infinite.

    >>> states = [{"a": torch.tensor([1.0])}, {"a": torch.tensor([5.0])}]
    >>> weighted_soup(states, lambda state: {1.0: 0.25, 5.0: 0.75}[state["a"].item()])
    {'a': tensor([4.])}
    >>> weighted_soup(states, lambda state: -{1.0: 0.25, 5.0: 0.75}[state["a"].item()])
    {'a': tensor([2.])}
    """
    if not 0 <= exponent < math.inf:
        raise ValueError(f"the exponent must be finite and not negative, got {exponent}")
    qualities = _qualities(states, validate)
    if math.isinf(max(qualities)):
        raise ValueError(f"the best quality must be finite, got {qualities}")
    return weighted_mean(states, [_ratio(value, max(qualities)) ** exponent for value in qualities])


def _ratio(quality: float, best: float) -> float:
    """Return `quality` as a part of the `best`, from 0 to 1, so that no exponent overflows."""
    if best == 0:
        return float(quality == 0)
    return max(quality, 0.0) / best if best > 0 else best / quality


def weighted_mean(states: Sequence[State], weights: Sequence[float]) -> State:
    """Return the sum of weight * state, divided by the sum of the weights, in float64.

    A state of weight 0 is left out, whatever it holds. If those that are left weigh the same, the
    result has the bits of their plain mean. ValueError unless there is one finite weight of 0 or
    more per state and at least one above 0.

    >>> weighted_mean([{"a": torch.tensor([1.0])}, {"a": torch.tensor([5.0])}], [3, 1])
    {'a': tensor([2.])}
    """
    _require_alike_all(states)
    if len(weights) != len(states):
        raise ValueError(f"expected {len(states)} weights, one per state, got {list(weights)}")
    if not (min(weights) >= 0 and 0 < sum(weights) < math.inf):
        raise ValueError(f"weights must be finite, not negative, not all 0, got {list(weights)}")
    used = [index for index, weight in enumerate(weights) if weight > 0]
    shares = [float(weights[index]) for index in used]
    if len(set(shares)) == 1:
        shares = [1.0] * len(used)
    merged = dict(states[0])
    for name, tensor in merged.items():
        parts = [states[index][name] for index in used]
        merged[name] = _mean(parts, shares) if tensor.is_floating_point() else tensor.clone()
    return merged


def _mean(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    # from the first and not from zero: the mean of one state has that state's bits, -0.0 included
    total = tensors[0].double() * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total.add_(tensor, alpha=weight)
    return (total / sum(weights)).to(tensors[0].dtype)


def _counts(states: Sequence[State], context: MergeContext | None) -> tuple[int, ...]:
    """Return how many snapshots are averaged in each of the states."""
    if context is None:
        return (1,) * len(states)
    if len(context.counts) != len(states) or min(context.counts, default=1) < 1:
        raise ValueError(f"expected {len(states)} counts of 1 or more, got {context.counts}")
    return context.counts


def _qualities(states: Sequence[State], validate: Quality) -> list[float]:
    _require_alike_all(states)
    qualities = [validate(state) for state in states]
    if any(math.isnan(value) for value in qualities):
        raise ValueError(f"the quality of a state is NaN: {qualities}")
    return qualities


def ties(
    states: Sequence[State],
    validate: Quality,
    context: MergeContext | None = None,
    *,
    density: float = 0.2,
    scale: float = 1.0,
) -> State:
    """Return base + scale * what the states changed in agreement: trim, elect sign, merge.

    TIES-Merging (Yadav et al. 2023, arXiv 2306.01708). A task vector is state - base over all
    floating tensors, running statistics included (the caller estimates them anew). Of each one the
    `density` * numel largest |.| are kept, over the whole of it, ties to the lowest index; per
    entry the sign of their sum is elected, and those of this sign are averaged. Where the sum is 0
    the base stays. The published code differs there (the sign of most entries of the network
    decides) and keeps one entry more.

    Entries that are 0 in the base and all states stay exactly 0, but are part of numel: on a
    network that is 90 % sparse, 0.2 trims nothing. Numbers of snapshots are ignored. Memory:
    one task vector in float64, then a few times the largest tensor. ValueError without a base,
    unless 0 < density <= 1 and 0 <= scale < infinity, and for a state that is not finite.

    >>> base = {"a": torch.zeros(4)}
    >>> states = [{"a": torch.tensor(values)} for values in ([4.0, 1.0, 3.0, 0.0],
    ...                                                      [2.0, 1.0, -5.0, 0.0])]
    >>> ties(states, lambda state: 0.0, MergeContext(base=base, counts=(1, 1)), density=0.5)
    {'a': tensor([ 3.,  0., -5.,  0.])}
    """
    if context is None or context.base is None:
        raise ValueError("ties needs one base that all states started from, got none")
    if not 0 < density <= 1:
        raise ValueError(f"density must lie in (0, 1], got {density}")
    if not 0 <= scale < math.inf:
        raise ValueError(f"scale must be finite and not negative, got {scale}")
    base = context.base
    _require_alike_all(states)
    _require_alike(states[0], base)
    kept = [_trimmed_counts(state, base, density) for state in states]
    merged = {name: tensor.clone() for name, tensor in states[0].items() if name not in kept[0]}
    for name in kept[0]:
        change = _agreed([state[name] for state in states], base[name], [n[name] for n in kept])
        merged[name] = change.mul_(scale).add_(base[name]).to(states[0][name].dtype)
    return {name: merged[name] for name in states[0]}


def _trimmed_counts(state: State, base: State, density: float) -> Counts:
    """Return how many entries of each floating tensor survive the trimming of the task vector."""
    floating = [name for name, tensor in state.items() if tensor.is_floating_point()]
    sizes = {name: (state[name].double() - base[name]).abs_() for name in floating}
    for name, size in sizes.items():
        if not size.isfinite().all():
            raise ValueError(f"{name!r} is not finite in a state or in the base")
    total = sum(size.numel() for size in sizes.values())
    return globally(sizes, budget(total, float(1 - decimal(density))))


def _agreed(tensors: Sequence[Tensor], base: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the mean of the kept changes that have the sign of their sum, 0 if there are none.

    Rises and falls are summed apart, so that one pass over the states is enough.
    """
    rise, fall = (torch.zeros_like(base, dtype=torch.float64) for _ in range(2))
    num_rises, num_falls = (torch.zeros_like(base, dtype=torch.int32) for _ in range(2))
    for tensor, count in zip(tensors, counts, strict=True):
        change = tensor.double() - base
        change *= selection.top(change.abs(), count)
        rise += change.clamp(min=0)
        fall += change.clamp(max=0)
        num_rises += change > 0
        num_falls += change < 0
    total = rise + fall
    agreed = torch.where(total > 0, rise / num_rises, fall / num_falls)
    return agreed.masked_fill_(total == 0, 0.0)


def running_mean(mean: State, count: int, new: State) -> State:
    """Return the mean of `count` states and `new`, given the `mean` of the `count`.

    mean + (new - mean) / (count + 1), kept in float64 (Izmailov et al. 2018). With a count of 0
    `mean` is ignored and may be empty.

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


def _require_alike_all(states: Sequence[State]) -> None:
    if not states:
        raise ValueError("there are no states to merge")
    for state in states[1:]:
        _require_alike(states[0], state)


def _require_alike(first: State, other: State) -> None:
    if set(first) != set(other):
        raise ValueError(f"states differ in {sorted(set(first) ^ set(other))}")
    for name, tensor in first.items():
        if tensor.shape != other[name].shape:
            raise ValueError(
                f"{name!r} has shape {tuple(tensor.shape)} in one state, "
                f"{tuple(other[name].shape)} in another"
            )
