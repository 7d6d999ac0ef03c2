"""What a ticket cost from the first step on: the sum over all fits that it was made from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from sparsekit.store.sealing import CorruptResult
from sparsekit.store.store import Store
from sparsekit.system.files import Damaged

COST = "cost.json"
FLOPS, FULL = "training_flops", "training_flops_full"


@dataclasses.dataclass(frozen=True)
class PastStage:
    """What a stage was made from, its files, and what making it cost; None if it does not say."""

    is_fit: bool
    inputs: tuple[str, ...]
    files: Mapping[str, str]
    cost: Mapping[str, Any] | None


ReadStage = Callable[[Store, str], PastStage]


def stages(read: Callable[[Store, str, str, Mapping[str, str]], Any]) -> ReadStage:
    """Return what reads stages, each once, however many tickets share it.

    `read` gives a file of a stage, by store, key, name, and the checksums of all its files.
    """

    def stage(store: Store, key: str) -> PastStage:
        description = store.description(key)
        files = description["files"]
        cost = read(store, key, COST, files) if COST in files else None
        return PastStage(key.startswith("fit-"), tuple(description["inputs"]), files, cost)

    return functools.cache(stage)


def procedure_cost(store: Store, ticket: str, stage: ReadStage) -> dict[str, float]:
    """Return what the whole procedure that led to a ticket cost, each stage of it once.

    `total_seconds` of all fits; `training_flops` of all stages; `training_flops_relative`, divided
    by one dense training of the whole schedule, that of the nearest fit. What is unknown is absent:
    fits of earlier releases tell no operations, and stages may be gone.
    """
    try:
        ancestry = _ancestry(store, ticket, stage)
    except (CorruptResult, Damaged, OSError):
        return {}
    fits = [one.cost or {} for one in ancestry if one.is_fit]
    others = [one.cost or {} for one in ancestry if not one.is_fit]
    if not fits:
        return {}
    found = {"total_seconds": float(sum(fit["seconds"] for fit in fits))}
    if not all(FLOPS in fit for fit in fits):
        return found
    found[FLOPS] = float(sum(one.get(FLOPS, 0.0) for one in (*fits, *others)))
    full = fits[0].get(FULL)
    return found | ({f"{FLOPS}_relative": found[FLOPS] / full} if full else {})


def _ancestry(store: Store, ticket: str, stage: ReadStage) -> list[PastStage]:
    """Return the stages that a ticket was made from, itself first, the nearest before others."""
    waiting = [ticket]
    known = {ticket}
    found = []
    for key in waiting:
        found.append(stage(store, key))
        new = [one for one in found[-1].inputs if one not in known]
        waiting += new
        known |= {*new}
    return found
