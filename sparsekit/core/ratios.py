"""The layer ratios of another method with positions drawn at random (Liu et al. 2022).

Each function has the shape of `prune.prune`: (weights, masks, probe, num_kept) -> masks.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import partial

from sparsekit.core import allocate, selection
from sparsekit.core.prune import prune as prune_by_score
from sparsekit.core.scores import random
from sparsekit.core.types import Allocate, Masks, Pattern, Probe, Weights


def redrawn(
    weights: Weights,
    masks: Masks,
    probe: Probe | None,
    num_kept: int,
    *,
    prune: Callable[[Weights, Masks, Probe | None, int], Masks],
    seed: int,
    pattern: Pattern,
) -> Masks:
    """Keep as many weights per layer as `prune` does, but at positions drawn at random.

    The SNIP and GraSP ratios of Liu et al. 2022, and the control of Su et al. 2020
    and Frankle et al. 2021: if the result trains as well as the mask of `prune`, the latter knows
    how many weights each layer needs, but not which. Positions are drawn by `scores.random` with
    `seed` among what `masks` keeps, and the sum is exactly what `prune` keeps, layer by layer.
    A layer that `prune` empties stays empty.

    >>> import torch
    >>> from sparsekit.core import patterns, scores
    >>> once = partial(prune_by_score, score=scores.magnitude, allocate=allocate.globally,
    ...                pattern=patterns.unstructured)
    >>> weights = {"a": torch.arange(4.0).view(2, 2), "b": torch.arange(4.0, 8.0).view(2, 2)}
    >>> masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    >>> kept = redrawn(weights, masks, None, 5, prune=once, seed=0, pattern=patterns.unstructured)
    >>> {name: int(mask.sum()) for name, mask in kept.items()}
    {'a': 1, 'b': 4}
    """
    model = prune(weights, masks, probe, num_kept)
    counts = {name: selection.count(mask) for name, mask in model.items()}
    return _drawn(
        weights,
        masks,
        sum(counts.values()),
        allocate=lambda scores, total: counts,
        seed=seed,
        pattern=pattern,
    )


def with_ratios_of(
    weights: Weights,
    masks: Masks,
    probe: Probe | None,
    num_kept: int,
    *,
    ticket: str,
    seed: int,
    pattern: Pattern,
) -> Masks:
    """Keep `num_kept` weights at random positions, in the layer ratios of a stored ticket.

    The densities of the ticket are scaled by one factor until the counts sum to `num_kept`; what a
    full layer cannot take goes to the others in proportion (`allocate.from_ratios`). A layer
    that the ticket empties stays empty. `ticket` is the key of a stage with masks of the same
    layers: ValueError naming those that differ.
    """
    if probe is None:
        raise ValueError(f"the ratios of ticket={ticket!r} need the store, but got no probe")
    stored = probe.stored_masks(ticket)
    _require_same_layers(stored, masks, ticket)
    ratios = {name: Fraction(selection.count(m), m.numel()) for name, m in stored.items()}
    shared = partial(allocate.from_ratios, ratios=ratios)
    return _drawn(weights, masks, num_kept, allocate=shared, seed=seed, pattern=pattern)


def _drawn(
    weights: Weights,
    masks: Masks,
    num_kept: int,
    *,
    allocate: Allocate,
    seed: int,
    pattern: Pattern,
) -> Masks:
    score = partial(random, seed=seed)
    return prune_by_score(
        weights, masks, None, num_kept, score=score, allocate=allocate, pattern=pattern
    )


def _require_same_layers(stored: Masks, masks: Masks, ticket: str) -> None:
    problems = [f"{name!r} is not in the ticket" for name in masks if name not in stored]
    problems += [f"{name!r} is only in the ticket" for name in stored if name not in masks]
    problems += [
        f"{name!r} has shape {tuple(stored[name].shape)} in the ticket, here {tuple(mask.shape)}"
        for name, mask in masks.items()
        if name in stored and stored[name].shape != mask.shape
    ]
    if problems:
        raise ValueError(f"the layers of ticket={ticket!r} differ: {'; '.join(problems)}")
