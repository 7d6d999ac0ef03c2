"""How many weights two networks keep in common, and how many they would by chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def overlap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what masks of the same layers have in common, in all and per layer.

    `jaccard`: weights that both keep, of those that either keeps; None where none are kept.
    `by_chance`: the same for masks that keep as many of each layer, drawn independently, from the
    expected intersection: the sum over layers of a b / n. `of_first`, `of_second`: the share of
    what one keeps that the other keeps as well.

    >>> import torch
    >>> one = torch.tensor([True, True, False, False])
    >>> found = overlap({"a": one}, {"a": one.roll(1)})
    >>> found["jaccard"] == found["by_chance"] == 1 / 3
    True
    """
    layers = {name: _counts(mask, second[name]) for name, mask in first.items()}
    a, b, both = (sum(one[place] for one in layers.values()) for place in range(3))
    chance = sum(one[0] * one[1] / first[name].numel() for name, one in layers.items())
    return {
        "jaccard": _jaccard(a, b, both),
        "by_chance": _jaccard(a, b, chance),
        "of_first": both / a if a else None,
        "of_second": both / b if b else None,
        "layers": [{"name": name, "jaccard": _jaccard(*counts)} for name, counts in layers.items()],
    }


def _counts(first: Tensor, second: Tensor) -> tuple[int, int, int]:
    return int(first.sum()), int(second.sum()), int((first & second).sum())


def _jaccard(first: int, second: int, both: float) -> float | None:
    either = first + second - both
    return both / either if either else None
