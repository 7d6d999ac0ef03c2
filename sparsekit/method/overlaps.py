"""A study of masks: which weights networks have in common."""

from __future__ import annotations

import itertools
from typing import Any

from sparsekit.core.overlap import mask_overlap
from sparsekit.method.studies import CannotStudy, StudyInput
from sparsekit.store.tensors import load_network


def overlaps(asked: StudyInput, *, to: str | None = None) -> dict[str, Any]:
    """Measure the intersection over union of masks, between each two `particles`, from the ticket
    of the cycle before to this one (`previous`), and to the network of a stage, by its key (`to`).

    See `core.overlap.mask_overlap`. CannotStudy where there is no second network, or none with the
    same layers; ValueError for a key that is not in the store.
    """
    if to is not None and to not in asked.store.keys(to.split("-", 1)[0]):
        raise ValueError(f"to={to!r} is not in the store {asked.store.root}")
    found: dict[str, Any] = {}
    if len(asked.particles) > 1:
        pairs = itertools.combinations(asked.particles, 2)
        found["particles"] = [_overlap(asked, *pair) for pair in pairs]
    if asked.previous is not None and asked.previous_state() is not None:
        found["previous"] = _overlap(asked, asked.previous, asked.ticket)
    if to is not None:
        found["to"] = _overlap(asked, to, asked.ticket)
    if not found:
        raise CannotStudy("needs two particles, a cycle before this one, or `to`, of one network")
    return found


def _overlap(asked: StudyInput, *keys: str) -> dict[str, Any]:
    first, second = (load_network(asked.store, key)[1] for key in keys)
    try:
        return mask_overlap(first, second)
    except ValueError as error:
        raise CannotStudy(f"{keys[0]} is another network: {error}") from error
