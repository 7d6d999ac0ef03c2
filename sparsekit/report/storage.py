"""What the stored network takes in memory, by format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparsekit.core.storage import Layer, stored_bytes
from sparsekit.report.formats import Table
from sparsekit.report.notes import caption
from sparsekit.report.reading import is_number
from sparsekit.report.rows import Row
from sparsekit.report.spread import Spread, mean_and_std

HEADERS = {
    "dense": "dense", "csr": "CSR", "csr_16": "CSR, 16 bits", "condensed": "condensed",
    "bitmap": "bitmap", "smallest": "best of each layer",
}  # fmt: skip
UNKNOWN = "tickets of earlier releases do not know the rows that formats are counted by"


def storage(rows: Sequence[Row]) -> Table:
    """Tabulate the bytes of the network in each format, in units of 1000, means over seeds."""
    found = [(row, {name: _spread(row, name) for name in HEADERS}) for row in rows]
    known = [(row, spreads) for row, spreads in found if any(spreads.values())]
    names = [f"{name}_{kind}" for name in HEADERS for kind in ("mean", "std")]
    return Table(
        headers=("method", "sparsity", "n", *(f"{text} (kB)" for text in HEADERS.values())),
        cells=[
            [row.name, f"{100 * row.sparsity:.2f}", str(row.count), *map(_kilo, spreads.values())]
            for row, spreads in known
        ],
        columns=("method", "sparsity", "n", *names),
        values=[
            [row.name, row.sparsity, row.count, *mean_and_std(list(spreads.values()))]
            for row, spreads in known
        ],
        caption=caption([row for row, _ in known]),
        notes=[UNKNOWN] if len(known) < len(rows) else [],
    )


def bytes_of(metrics: Mapping[str, Any]) -> dict[str, int]:
    """Return the bytes of a network by format, from the metrics of its ticket; {} if unknown."""
    layers, num_parameters = metrics["layers"], metrics.get("num_parameters")
    if not is_number(num_parameters) or not all(_is_known(one) for one in layers.values()):
        return {}
    shapes = {name: _layer(one) for name, one in layers.items()}
    masked = sum(one["size"] for one in layers.values())
    return stored_bytes(shapes, int(num_parameters) - masked)


def _is_known(layer: Mapping[str, Any]) -> bool:
    has_rows = bool(layer.get("neurons")) and "active_neurons" in layer
    return has_rows and len(layer.get("fan_in", ())) == 2


def _layer(layer: Mapping[str, Any]) -> Layer:
    return Layer(
        rows=layer["neurons"],
        columns=layer["size"] // layer["neurons"],
        kept=layer["kept"],
        active_rows=layer["active_neurons"],
        longest=layer["fan_in"][1],
    )


def _spread(row: Row, name: str) -> Spread | None:
    return Spread.of_all(bytes_of(result.metrics).get(name) for result in row.results)


def _kilo(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.mean / 1000:,.1f}"
