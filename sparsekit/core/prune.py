"""Score, allocate, select: from weights to masks, and what is done with masks."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sparsekit.core import selection
from sparsekit.core.counts import budget
from sparsekit.core.schedules import geometric
from sparsekit.core.types import (
    Allocate,
    Counts,
    Masks,
    Pattern,
    Probe,
    Score,
    Scores,
    State,
    Weights,
)


def prune(
    weights: Weights,
    masks: Masks,
    probe: Probe | None,
    num_kept: int,
    *,
    score: Score,
    allocate: Allocate,
    pattern: Pattern,
) -> Masks:
    """Return masks that keep `num_kept` of the weights that `masks` keeps.

    Weights without a mask are ignored, so a whole state dict may be passed. What is pruned scores
    -inf, which neither allocation nor pattern may keep: the result is nested in `masks`. It keeps
    fewer than `num_kept` only if `allocate` rounds down to fit a structure. ValueError if
    `num_kept` is 0, because nothing would be left of the network, if fewer than `num_kept` weights
    are left, if a score is not a number, and for a layer that the pattern does not fit.

    >>> import torch
    >>> from sparsekit.core import allocate, patterns, scores
    >>> weights = {"a": torch.tensor([[1.0, -4.0]]), "b": torch.tensor([[3.0, -2.0]])}
    >>> masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    >>> kept = prune(weights, masks, None, num_kept=2, score=scores.magnitude,
    ...              allocate=allocate.globally, pattern=patterns.unstructured)
    >>> {name: mask.int().tolist() for name, mask in kept.items()}
    {'a': [[0, 1]], 'b': [[1, 0]]}
    """
    _require_alive(masks, num_kept)
    scores = _scores(weights, masks, probe, score)
    counts = allocate(scores, num_kept)
    kept = {name: _chosen(pattern, scores[name], counts[name], name) for name in masks}
    _check_counts(kept, counts)
    check_nested(masks, kept)
    return kept


def _chosen(pattern: Pattern, scores: Tensor, count: int, name: str) -> Tensor:
    try:
        return pattern(scores, count)
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from error


def _require_alive(masks: Masks, wanted: int) -> None:
    alive = total_kept(masks)
    if wanted < 1:
        raise ValueError(f"cannot keep {wanted} weights; the smallest feasible number is 1")
    if wanted > alive:
        raise ValueError(f"cannot keep {wanted} weights; the largest feasible number is {alive}")


def _scores(weights: Weights, masks: Masks, probe: Probe | None, score: Score) -> Scores:
    """Return the scores, -inf where a weight is pruned already."""
    prunable = _select(weights, masks)
    scores = score(prunable, masks, probe)
    require_same_layers(scores, masks)
    for name, values in scores.items():
        # a sum is NaN if a term is, and needs no temporary of the scores' size
        if values.sum().isnan() and values.isnan().any():
            raise ValueError(f"the scores of {name!r} contain NaN")
    return {name: torch.where(mask, scores[name], -math.inf) for name, mask in masks.items()}


def _check_counts(masks: Masks, counts: Counts) -> None:
    for name, num in num_kept(masks).items():
        if num != counts[name]:
            raise ValueError(f"the pattern kept {num} of {name!r} instead of {counts[name]}")


def apply(weights: State, masks: Masks) -> State:
    """Return the weights with every pruned entry set to exactly +0.0.

    Tensors without a mask are passed on as they are. Nothing is changed in place.

    >>> import torch
    >>> apply({"a": torch.tensor([-1.0, 2.0])}, {"a": torch.tensor([False, True])})
    {'a': tensor([0., 2.])}
    """
    masked = _select(weights, masks)
    return weights | {name: masked[name].masked_fill(~mask, 0.0) for name, mask in masks.items()}


def intersection(masks: Sequence[Masks]) -> Masks:
    """Return the masks of what every one of `masks` keeps.

    >>> import torch
    >>> one, two = torch.tensor([True, True, False]), torch.tensor([True, False, True])
    >>> intersection([{"a": one}, {"a": two}])
    {'a': tensor([ True, False, False])}
    """
    if not masks:
        raise ValueError("the intersection of no masks is not defined")
    common = {name: mask.clone() for name, mask in masks[0].items()}
    for other in masks[1:]:
        require_same_layers(other, common)
        common = {name: mask & other[name] for name, mask in common.items()}
    return common


def num_kept(masks: Masks) -> Counts:
    """Return the number of weights each layer keeps.

    >>> import torch
    >>> num_kept({"a": torch.tensor([True, False])})
    {'a': 1}
    """
    return {name: selection.count(mask) for name, mask in masks.items()}


def total_kept(masks: Masks) -> int:
    """Return how many weights all masks together keep.

    >>> import torch
    >>> total_kept({"a": torch.tensor([True, False]), "b": torch.tensor([True])})
    2
    """
    return sum(num_kept(masks).values())


def collapsed(masks: Masks) -> list[str]:
    """Return the names of the layers that keep nothing.

    A network without bypasses then passes nothing on (layer collapse, Tanaka et al. 2020), and what
    it reports are the biases and normalisations behind the empty layer.

    >>> import torch
    >>> collapsed({"a": torch.tensor([True, False]), "b": torch.tensor([False, False])})
    ['b']
    """
    return [name for name, num in num_kept(masks).items() if num == 0]


def check_nested(before: Masks, after: Masks) -> None:
    """Raise ValueError if `after` keeps a weight that `before` does not.

    >>> import torch
    >>> check_nested({"a": torch.tensor([False])}, {"a": torch.tensor([True])})
    Traceback (most recent call last):
    ValueError: 1 pruned weights of 'a' came back
    """
    require_same_layers(after, before)
    for name, mask in before.items():
        revived = selection.count(after[name] & ~mask)
        if revived:
            raise ValueError(f"{revived} pruned weights of {name!r} came back")


def iterated(
    weights: Weights,
    masks: Masks,
    probe: Probe | None,
    num_kept: int,
    *,
    prune: Callable[[Weights, Masks, Probe | None, int], Masks],
    iterations: int = 100,
    schedule: Callable[..., float] = geometric,
) -> Masks:
    """Prune to `num_kept` in `iterations` turns, scoring anew what each turn has left.

    Turn i sees the weights with the pruned ones at 0 and ends at density D^(i / iterations), D the
    density asked for relative to `masks` (SynFlow, Tanaka et al. 2020, algorithm 1), or wherever
    another of `schedules` leads. What is pruned stays pruned. SynFlow's code ranks all weights
    in every turn: the same where scores are 0 at pruned weights and positive elsewhere, but signed
    ones such as GraSP's would revive weights. ValueError unless iterations >= 1 and num_kept lies
    between 1 and what `masks` keeps.

    >>> from functools import partial
    >>> import torch
    >>> from sparsekit.core import allocate, patterns, scores
    >>> once = partial(prune, score=scores.magnitude, allocate=allocate.globally,
    ...                pattern=patterns.unstructured)
    >>> weights = {"a": torch.tensor([1.0, 4.0, 3.0, 2.0])}
    >>> masks = {"a": torch.ones(4, dtype=torch.bool)}
    >>> iterated(weights, masks, None, 1, prune=once, iterations=2)
    {'a': tensor([False,  True, False, False])}
    """
    if iterations < 1:
        raise ValueError(f"iterations must be 1 or more, got {iterations}")
    alive = total_kept(masks)
    if not 1 <= num_kept <= alive:
        raise ValueError(f"cannot keep {num_kept} weights; feasible are 1 to {alive}")
    for turn in range(1, iterations + 1):
        sparsity = schedule(turn, start=0.0, stop=1 - num_kept / alive, steps=iterations)
        wanted = num_kept if turn == iterations else max(budget(alive, sparsity), num_kept)
        # a structure may have rounded the turn before down to less than is wanted now
        masks = prune(apply(weights, masks), masks, probe, min(wanted, total_kept(masks)))
    return masks


def _select(weights: Weights, masks: Masks) -> Weights:
    missing = [name for name in masks if name not in weights]
    if missing:
        raise ValueError(f"masks for {missing}, but the weights are {sorted(weights)}")
    for name, mask in masks.items():
        if mask.shape != weights[name].shape:
            raise ValueError(
                f"the mask of {name!r} has shape {tuple(mask.shape)}, "
                f"its weights {tuple(weights[name].shape)}"
            )
    return {name: weights[name] for name in masks}


def require_same_layers(given: Masks | Scores, expected: Masks) -> None:
    """Raise ValueError unless both have the same layers, of the same shapes."""
    if set(given) != set(expected):
        raise ValueError(f"got the layers {sorted(given)}, expected {sorted(expected)}")
    for name, tensor in expected.items():
        if given[name].shape != tensor.shape:
            raise ValueError(
                f"{name!r} has shape {tuple(given[name].shape)}, expected {tuple(tensor.shape)}"
            )
