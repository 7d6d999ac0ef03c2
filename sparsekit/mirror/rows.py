"""What there is to tell of a run, as rows of its history, read from the store.

Every row has a name of its own (`row`) and the axes it is drawn along: `cycle`, `particle`,
`epoch`, `step`. The order in which rows are told means nothing, and telling one twice adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sparsekit.mirror.names import metric_name
from sparsekit.mirror.told import ROW
from sparsekit.report.reading import is_number
from sparsekit.store.store import Store

Row = dict[str, Any]
AXES = ("cycle", "particle", "epoch", "step")
KEYS = (ROW, "fit")
STEP_OF = {
    "fits/*": "epoch",
    "particles/*": "particle",
    "cycle/*": "cycle",
    "layers/*": "cycle",
    "studies/*": "cycle",
}
"""The axis of each family of metrics; `fit/*`, the epochs of all fits, are drawn as they come."""
NOT_FLAT = ("layers", "primary", "collapsed", "warnings")
MOST_OF_A_STUDY = 200
TABLE = ("layer", "weights", "kept", "density", "neurons", "active_neurons", "fan_in_min",
         "fan_in_max")  # fmt: skip


def fit_row(key: str, cycle: int, particle: int, measured: Mapping[str, Any]) -> Row:
    """Return an epoch of a fit: under `fit/`, where those of all fits follow each other, and, what
    is of the whole network, under names of this fit's own."""
    row: Row = {ROW: f"{key}/c{cycle}p{particle}/s{measured['step']}", "fit": key}
    row |= {"cycle": cycle, "particle": particle}
    row |= {"epoch": measured["epoch"], "step": measured["step"]}
    for name, value in measured.items():
        if name in AXES or value is None:
            continue
        row[f"fit/{metric_name(name)}"] = value
        if "/" not in name:
            row[f"fits/c{cycle}p{particle}/{metric_name(name)}"] = value
    return row


def cycle_rows(store: Store, record_row: Mapping[str, Any]) -> Iterator[Row]:
    """Yield all that is known of a cycle that is done: its fits, its ticket, its studies.

    A fit that another run has computed is in each run that uses it.
    """
    cycle, ticket = record_row["cycle"], record_row["ticket"]
    keys = fits_of(store, ticket)
    for particle, key in enumerate(keys):
        for measured in store.read(key, "history.json"):
            yield fit_row(key, cycle, particle, measured)
    if len(keys) > 1:
        for particle, key in enumerate(keys):
            yield _particle_row(store, key, cycle, particle)
    yield {
        ROW: f"{ticket}/c{cycle}",
        "cycle": cycle,
        "cycle/asked_sparsity": record_row["sparsity"],
        **{f"cycle/{name}": value for name, value in measures(store, ticket).items()},
        **dict(_of_layers(store.read(ticket, "metrics.json")["layers"])),
    }
    for name, key in record_row.get("studies", {}).items():
        if name not in record_row.get("skipped_studies", {}):
            yield _study_row(store, name, key, cycle)


def fits_of(store: Store, ticket: str) -> list[str]:
    """Return the fits that a ticket was made of, in order; none for one that was only pruned."""
    inputs: Sequence[str] = store.description(ticket)["inputs"]
    return [key for key in inputs if key.startswith("fit-")]


def measures(store: Store, ticket: str) -> Row:
    """Return what was measured of a ticket, by name; `sparsity` is what it has, not the setting."""
    metrics = store.read(ticket, "metrics.json")
    flat = {name: value for name, value in metrics.items() if name not in NOT_FLAT}
    costs = [store.read(key, "cost.json") for key in fits_of(store, ticket)]
    return {
        "sparsity": metrics["sparsity_prunable"],
        **dict(_numbers(flat)),
        "num_collapsed_layers": len(metrics.get("collapsed", ())),
        "seconds": sum(cost["seconds"] for cost in costs),
    }


def layer_table(store: Store, ticket: str) -> list[list[Any]]:
    """Return a line for each layer of a ticket, with the columns of `TABLE`."""
    layers = store.read(ticket, "metrics.json")["layers"]
    return [[name, *_of_layer(layer).values()] for name, layer in layers.items()]


def _of_layer(layer: Mapping[str, Any]) -> dict[str, float | None]:
    ends = [*layer.get("fan_in", ()), None, None]
    kept, size = layer["kept"], layer["size"]
    known = [size, kept, kept / max(1, size), layer.get("neurons"), layer.get("active_neurons")]
    return dict(zip(TABLE[1:], [*known, *ends[:2]], strict=True))


def _of_layers(layers: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, layer in layers.items():
        for what in ("density", "active_neurons", "fan_in_min", "fan_in_max"):
            value = _of_layer(layer)[what]
            if value is not None:
                yield f"layers/{what}/{metric_name(name)}", value


def _particle_row(store: Store, key: str, cycle: int, particle: int) -> Row:
    last = (store.read(key, "history.json") or [{}])[-1]
    found = {**last, **store.read(key, "cost.json")}
    prefix = f"particles/c{cycle}"
    return {
        ROW: f"{key}/c{cycle}p{particle}",
        "cycle": cycle,
        "particle": particle,
        **{f"{prefix}/{name}": v for name, v in _numbers(found) if name not in AXES},
    }


def _study_row(store: Store, name: str, key: str, cycle: int) -> Row:
    found = dict(_numbers(store.read(key, "study.json"), f"studies/{metric_name(name)}/"))
    kept = dict(list(found.items())[:MOST_OF_A_STUDY])
    return {ROW: f"{key}/c{cycle}", "cycle": cycle, **kept}


def _numbers(found: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of nested mappings, and of lists of these, with names for a metric."""
    items = found.items() if isinstance(found, Mapping) else enumerate(found)
    for name, value in items:
        if is_number(value) and isinstance(found, Mapping):
            yield f"{prefix}{metric_name(str(name))}", value
        elif isinstance(value, Mapping | list):
            yield from _numbers(value, f"{prefix}{metric_name(str(name))}/")
