"""How masks move while training: (step, weights, grads, masks) -> masks, or None to leave them."""

from collections.abc import Callable

from sparsekit.core.counts import budget
from sparsekit.core.prune import num_kept, prune
from sparsekit.core.types import Allocate, Masks, Pattern, Score, Weights


def fixed(step: int, weights: Weights, grads: Weights, masks: Masks) -> None:
    """Leave the masks as they are.

    >>> fixed(0, {}, {}, {})
    """


def gradual(
    step: int,
    weights: Weights,
    grads: Weights,
    masks: Masks,
    *,
    schedule: Callable[[int], float],
    score: Score,
    allocate: Allocate,
    pattern: Pattern,
    update: Callable[[int], bool],
) -> Masks | None:
    """Prune to the sparsity `schedule(step)` at the steps where `update(step)` holds.

    Gradual magnitude pruning (Zhu & Gupta 2017) with the cubic schedule. Sparsity is over all the
    weights that have a mask. Pruned weights stay pruned: where the masks are already sparser than
    the schedule asks, they keep what they have. The score gets no probe.

    >>> import torch
    >>> from sparsekit.core import allocate, patterns, scores
    >>> masks = gradual(5, {"a": torch.tensor([1.0, 3.0])}, {}, {"a": torch.tensor([True, True])},
    ...     schedule=lambda step: step / 10, score=scores.magnitude, allocate=allocate.globally,
    ...     pattern=patterns.unstructured, update=lambda step: step % 5 == 0)
    >>> masks
    {'a': tensor([False,  True])}
    """
    if not update(step):
        return None
    total = sum(mask.numel() for mask in masks.values())
    alive = sum(num_kept(masks).values())
    return prune(
        weights,
        masks,
        None,
        num_kept=min(budget(total, schedule(step)), alive),
        score=score,
        allocate=allocate,
        pattern=pattern,
    )
