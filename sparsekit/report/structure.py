"""What each layer keeps: weights, neurons, weights per neuron; and what was ever active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparsekit.report.formats import Table
from sparsekit.report.notes import caption
from sparsekit.report.rows import Row
from sparsekit.report.spread import Spread, mean_and_std

HEADERS = (
    "layer", "weights", "kept (%)", "neurons (active/all)", "fan-in (min..max)", "ablated/revived",
)  # fmt: skip
COLUMNS = (
    "method", "sparsity", "n", "layer", "size", "kept", "neurons", "active_neurons",
    "fan_in_min", "fan_in_max", "dead_neurons", "ablated_neurons", "revived_neurons",
)  # fmt: skip
MEASURES = COLUMNS[4:]
EXPLORED = (
    "method", "sparsity", "all prunable layers", "layers that began sparse", "replaced per update",
    "n",
)  # fmt: skip

Means = Mapping[str, float | None]


def layers(rows: Sequence[Row]) -> Table:
    """Tabulate what each layer keeps in percent, mean over seeds; one column per row.

    For machines, one line per layer and row, with all that is known of its structure.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.layers))
    return Table(
        headers=["layer", "weights", *(f"{row.name} {100 * row.sparsity:.2f}" for row in rows)],
        cells=[
            [name, _size(rows, name), *(_kept(means_of(row, name)) for row in rows)]
            for name in names
        ],
        columns=COLUMNS,
        values=[_values(row, name) for row in rows for name in row.layers],
    )


def structure(row: Row) -> Table:
    """Tabulate the layers of one row of the main table, as means over its seeds.

    A neuron is a row of the mask: an output of a linear layer, a filter of a convolution. It is
    active if it keeps a weight; fan-in is the fewest and the most weights of an active one, one
    number where they are equal. Tickets of older stores do not know them. Where masks moved, those
    are ablated that kept weights when the fit began and keep none at its end, and those revived
    that kept none; the rest of the inactive ones was dead from the start.
    """
    return Table(
        headers=HEADERS,
        cells=[_cells(row, name) for name in row.layers],
        columns=COLUMNS,
        values=[_values(row, name) for name in row.layers],
    )


def has_inactive(row: Row) -> bool:
    """Say whether any layer of any seed has neurons that keep nothing."""
    found = [layer for name in row.layers for layer in row.layer(name) if "neurons" in layer]
    return any(layer["active_neurons"] < layer["neurons"] for layer in found)


def exploration(rows: Sequence[Row]) -> Table:
    """Tabulate ITOP rates: the fraction of weights that were active at some step of training.

    In-Time Over-Parameterization (Liu et al. 2021, "Do We Actually Need Dense
    Over-Parameterization?"), over all prunable layers, and over those that did not begin dense:
    a dense layer is fully explored from the start. Beside them what each update of the masks
    replaced: of the weights it found, the fraction that it dropped. Only rows that know it.
    """
    measures = ("itop", "itop_sparse", "replaced_per_update")
    rates = [(row, [row.known(name) for name in measures]) for row in rows]
    known = [(row, spreads) for row, spreads in rates if any(spreads)]
    names = [f"{name}_{kind}" for name in measures for kind in ("mean", "std")]
    return Table(
        headers=EXPLORED,
        cells=[
            [row.name, f"{100 * row.sparsity:.2f}", *map(_percent, spreads), str(row.count)]
            for row, spreads in known
        ],
        columns=("method", "sparsity", "n", *names),
        values=[
            [row.name, row.sparsity, row.count, *mean_and_std(spreads)] for row, spreads in known
        ],
        caption=caption([row for row, _ in known]),
        notes=[] if known else ["no ticket here knows what was active while it was trained"],
    )


def means_of(row: Row, name: str) -> Means:
    """Average a value of each layer over the seeds; None for what not all of them know."""
    found = [_numbers(layer) for layer in row.layer(name)]
    return {key: _mean([layer.get(key) for layer in found]) for key in MEASURES}


def _numbers(layer: Mapping[str, Any]) -> dict[str, float]:
    ends = dict(zip(("fan_in_min", "fan_in_max"), layer.get("fan_in", ()), strict=False))
    return {**{key: value for key, value in layer.items() if key != "fan_in"}, **ends}


def _mean(values: Sequence[float | None]) -> float | None:
    spread = Spread.of_all(values)
    return None if spread is None else spread.mean


def _cells(row: Row, name: str) -> list[str]:
    means = means_of(row, name)
    ends = [means["fan_in_min"], means["fan_in_max"]]
    neurons = [means["active_neurons"], means["neurons"]]
    fan_in = ends[:1] if ends[0] == ends[1] else ends
    moved = [means["ablated_neurons"], means["revived_neurons"]]
    joined = [_joined(neurons, "/"), _joined(fan_in, ".."), _joined(moved, "/")]
    return [name, _size([row], name), _kept(means), *joined]


def _joined(numbers: Sequence[float | None], by: str) -> str:
    """Join the numbers that are known, with one decimal if they are not whole.

    >>> _joined([63.666, 64.0], "/"), _joined([None], "..")
    ('63.7/64', '')
    """
    known = [f"{number:.1f}".removesuffix(".0") for number in numbers if number is not None]
    return by.join(known)


def _kept(means: Means) -> str:
    kept, size = means["kept"], means["size"]
    return "" if kept is None or not size else f"{100 * kept / size:.2f}"


def _size(rows: Sequence[Row], name: str) -> str:
    sizes = {layer["size"] for row in rows for layer in row.layer(name)}
    return " or ".join(f"{size:,}" for size in sorted(sizes))


def _percent(spread: Spread | None) -> str:
    return "" if spread is None else spread.percent()


def _values(row: Row, name: str) -> list[object]:
    means = means_of(row, name)
    return [row.name, row.sparsity, row.count, name, *(means[key] for key in MEASURES)]
