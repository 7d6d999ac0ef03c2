"""How much two masks of one network have in common."""

from __future__ import annotations

from typing import Any

from sparsekit.core.prune import num_kept, require_same_layers
from sparsekit.core.types import Masks


def mask_overlap(first: Masks, second: Masks) -> dict[str, Any]:
    """Return the intersection over union of two networks' kept weights, in `total` and by `layers`.

    1: the same weights; 0: none in common. Where neither keeps any the two are the same: 1.
    `by_chance` is what `total` would be if each layer of both were drawn at random with as many
    weights: the expected intersection over the union that goes with it. ValueError unless both
    have the same layers.

    >>> import torch
    >>> masks = [{"a": torch.tensor(kept).bool()} for kept in ([1, 1, 0, 0], [0, 1, 1, 0])]
    >>> mask_overlap(*masks)["layers"]
    {'a': 0.3333333333333333}
    >>> mask_overlap(*masks)["by_chance"]  # one of four weights in common, of three
    0.3333333333333333
    """
    require_same_layers(first, second)
    common = num_kept({name: mask & second[name].to(mask.device) for name, mask in first.items()})
    one, other = num_kept(first), num_kept(second)
    both = {name: one[name] + other[name] for name in common}
    expected = sum(one[n] * other[n] / mask.numel() for n, mask in first.items() if mask.numel())
    return {
        "total": _ratio(sum(common.values()), sum(both.values())),
        "by_chance": _ratio(expected, sum(both.values())),
        "layers": {name: _ratio(common[name], both[name]) for name in common},
    }


def _ratio(common: float, both: int) -> float:
    """Return the intersection over the union of sets with these numbers of members."""
    return common / (both - common) if both else 1.0
