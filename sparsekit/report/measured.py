"""What is known of one ticket: its metrics, what it cost, and what became of its masks."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from sparsekit.report.procedure import COST, ReadStage, procedure_cost
from sparsekit.report.reading import metric_of
from sparsekit.store import schemas
from sparsekit.store.sealing import json_of
from sparsekit.store.store import CorruptResult, Store
from sparsekit.system import schema
from sparsekit.system.files import MOST_BYTES, Damaged, read_bytes

UPDATES = "updates.json"

Layers = Mapping[str, Mapping[str, Any]]


def measured_of(stage: ReadStage, store: Store, ticket: str) -> tuple[Mapping[str, Any], float]:
    """Return the metrics of a ticket, with what it cost, and how long its own fits took.

    Beside the cost of the whole procedure, that of the teachers of its own fits, and what their
    masks did.
    """
    own = stage(store, ticket)
    fits = [key for key in own.inputs if key.startswith("fit-")]
    costs = [stage(store, key).cost or store.read(key, COST) for key in fits]
    seconds = float(sum(cost["seconds"] for cost in costs))
    metrics = read_known(store, ticket, "metrics.json", own.files)
    try:
        _check_metrics(metrics)
    except ValueError as error:
        raise CorruptResult(f"{ticket}: metrics.json is not that of a ticket: {error}") from error
    taught = [cost["teacher_flops"] for cost in costs if "teacher_flops" in cost]
    teachers = {"teacher_flops": sum(taught)} if taught else {}
    moved = [key for key in fits if UPDATES in stage(store, key).files]
    updates = [read_known(store, key, UPDATES, stage(store, key).files) for key in moved]
    movements = _movements(updates, metrics["layers"]) if updates else {}
    return metrics | teachers | movements | procedure_cost(store, ticket, stage), seconds


def _movements(updates: Sequence[Mapping[str, Any]], layers: Layers) -> dict[str, Any]:
    """Return what the masks of the fits did, as means over them, and the layers with it.

    `replaced_per_update`: of the weights kept before an update, the fraction that it dropped.
    """
    shares = [
        dropped / max(1, kept + dropped - grown)
        for one in updates
        for kept, dropped, grown in zip(one["kept"], one["dropped"], one["grown"], strict=False)
    ]
    known: dict[str, dict[str, float]] = {}
    for name in layers:
        found = [one["neurons"][name] for one in updates if name in one["neurons"]]
        for number in ("dead", "ablated", "revived") if found else ():
            known.setdefault(name, {})[f"{number}_neurons"] = fmean(one[number] for one in found)
    return {
        "num_mask_updates": fmean(len(one["steps"]) for one in updates),
        "layers": {name: {**layer, **known.get(name, {})} for name, layer in layers.items()},
        **({"replaced_per_update": fmean(shares)} if shares else {}),
    }


def _check_metrics(metrics: Mapping[str, Any]) -> None:
    schemas.ticket_metrics(metrics, "")
    name = f"test_{metric_of(metrics).name}"
    schema.mapping({name: schema.optional(schema.number())})(metrics, "")


def read_known(store: Store, key: str, name: str, files: Mapping[str, str]) -> Any:
    """Read like `store.read`, with a description that is known: it is as long as all the rest.

    What does not match its checksum is left to the store to refuse.
    """
    with contextlib.suppress(Damaged, OSError):
        content = read_bytes(store.path(key) / name, most=MOST_BYTES)
        if hashlib.sha256(content).hexdigest() == files.get(name):
            return json_of(content, key, name)
    return store.read(key, name)
