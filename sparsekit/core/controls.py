"""Masks of as many weights as given ones, at other positions: (masks, seed) -> masks.

Sanity checks of pruning (Su et al. 2020; Frankle et al. 2021): where a control trains as well as
the mask it is made of, the positions that the mask chose do not matter. Positions follow from
(seed, name of the layer), never from the device or from the mask that is shuffled.
"""

import math

from torch import Tensor

from sparsekit.core import allocate, patterns, selection
from sparsekit.core.prune import num_kept, total_kept
from sparsekit.core.scores import random
from sparsekit.core.seeds import derive
from sparsekit.core.types import Masks, Pattern, Scores


def within_layers(
    masks: Masks,
    seed: int,
    *,
    pattern: Pattern = patterns.unstructured,
    ablated_stay: bool = False,
) -> Masks:
    """Return masks with as many weights in each layer, at random positions chosen by `pattern`.

    Unstructured, this is the layerwise shuffle of Su et al. 2020: every placement in the layer is
    equally likely. With `patterns.constant_fan_in`, `n_of_m`, `balanced` or `channels`
    the structure survives and only the choice within it is random. `ablated_stay`: outputs that
    keep nothing stay empty, which a constant fan-in mask with ablated neurons needs. ValueError of
    the pattern if it cannot keep as many.

    >>> import torch
    >>> within_layers({"a": torch.tensor([[True, True], [False, False]])}, 0)["a"].sum()
    tensor(2)
    """
    values, counts = _random(masks, seed), num_kept(masks)
    if ablated_stay:
        values = {name: _without_ablated(values[name], mask) for name, mask in masks.items()}
    return {name: pattern(values[name], counts[name]) for name in masks}


def across_layers(masks: Masks, seed: int) -> Masks:
    """Return masks with as many weights in the whole network, at random positions anywhere.

    The shuffle of the whole network's mask, as in open_lth (Frankle et al. 2021): layer ratios are
    lost too, and only the total survives. Every layer expects the density of the network.

    >>> import torch
    >>> masks = {"a": torch.tensor([[True, True]]), "b": torch.tensor([[False, False]])}
    >>> sum(int(mask.sum()) for mask in across_layers(masks, 0).values())
    2
    """
    values = _random(masks, seed)
    counts = allocate.globally(values, total_kept(masks))
    return {name: patterns.unstructured(values[name], counts[name]) for name in masks}


def _random(masks: Masks, seed: int) -> Scores:
    # A seed of its own: a mask drawn at random by `seed` must not come back unchanged
    return random(masks, masks, None, seed=derive(seed, "control"))


def _without_ablated(values: Tensor, mask: Tensor) -> Tensor:
    empty = ~selection.rows(mask).any(dim=1)
    return selection.rows(values).masked_fill(empty[:, None], -math.inf).view(values.shape)
