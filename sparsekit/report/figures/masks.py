"""The masks of results, read once for a figure, and what figures take from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.report.collect import Result
from sparsekit.report.figures.choosing import NothingToDraw
from sparsekit.store.store import Store

Masks = Mapping[str, Any]


def masks_of(result: Result) -> Masks:
    """Read the masks of a ticket, as boolean arrays; NothingToDraw for one that holds none."""
    from sparsekit.store.masks import read_masks

    try:
        masks = read_masks(Store(Path(result.store)), result.ticket)
    except FileNotFoundError as error:
        raise NothingToDraw(f"the masks are not in the store: {error}") from error
    if not masks:
        raise NothingToDraw(f"{result.ticket} has no masks")
    return masks


def overlap(one: Masks, other: Masks) -> float | None:
    """Return the Jaccard index of two networks' masks: weights both keep, of those either keeps.

    None where they are masks of different networks, or neither keeps anything.
    """
    if {name: mask.shape for name, mask in one.items()} != {
        name: mask.shape for name, mask in other.items()
    }:
        return None
    both = sum(int((mask & other[name]).sum()) for name, mask in one.items())
    either = sum(int((mask | other[name]).sum()) for name, mask in one.items())
    return both / either if either else None


def fan_ins(mask: Any) -> Sequence[int]:
    """Count the weights that each neuron keeps: of each row of a mask, a filter is one."""
    counts: Sequence[int] = mask.reshape(mask.shape[0], -1).sum(axis=1).tolist()
    return counts
