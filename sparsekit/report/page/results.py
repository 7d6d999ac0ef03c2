"""The results of a page: runs, tickets with their layers, and what fits wrote down on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.report.collect import Kind, Record, Result, kind_of
from sparsekit.report.commands import provenance_of
from sparsekit.report.histories import histories
from sparsekit.report.reading import header, is_measured, is_number, scale
from sparsekit.report.rows import Row
from sparsekit.store.store import CorruptResult
from sparsekit.system.files import Damaged
from sparsekit.tasks.metric import Metric

COSTS = ("flops", "training_flops", "training_flops_relative", "num_parameters_kept")
DIGITS = 6


def points(rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    """Return every result as a point: what figures draw, and what they say of it when asked."""
    return [
        {
            "label": row.label,
            "sparsity": 100 * float(result.metrics["sparsity_prunable"]),
            "value": shown(row.metric, result.metrics.get(f"test_{row.metric.name}")),
            "seed": result.seed,
            "cycle": result.cycle,
            "ticket": result.ticket,
            "method": result.method,
            **{name: known(result.metrics.get(name)) for name in COSTS},
        }
        for row in rows
        for result in row.results
    ]


def metric_facts(metric: Metric) -> Mapping[str, Any]:
    """Return how the primary metric is named, and which way is better."""
    return {
        "name": metric.name,
        "direction": metric.direction,
        "percent": metric.style == "percent",
        "test": header(metric, "test"),
        "validation": header(metric, "val"),
    }


def tickets(rows: Sequence[Row]) -> Mapping[str, Mapping[str, Any]]:
    """Return what is known of each ticket, once: metrics, layers, and the curves of its fits."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        for result in row.results:
            if result.ticket not in found:
                found[result.ticket] = _ticket(result, row.metric)
    return found


def runs(
    records: Sequence[Record], results: Sequence[Result], labels: Mapping[Kind, str]
) -> list[Mapping[str, Any]]:
    """Return every run: its choices, its configuration, how it ended and its cycles.

    A run of a kind without results has no label, and is named by its method.
    """
    known = {result.ticket for result in results}
    found = [
        {
            "name": record.file.stem,
            "experiment": record.content["experiment"],
            "method": record.content["choices"]["method"],
            "label": labels.get(kind_of(record.content), record.content["choices"]["method"]),
            "seed": record.content["seed"],
            "status": record.content["status"],
            "overrides": list(record.content["overrides"]),
            "config": record.content.get("config", {}),
            "cycles": [
                {name: row[name] for name in ("cycle", "sparsity", "ticket")}
                for row in record.content["rows"]
                if row["ticket"] in known
            ],
        }
        for record in records
    ]
    return sorted(found, key=_place)


def _place(run: Mapping[str, Any]) -> tuple[str, float, int]:
    last = run["cycles"][-1]["sparsity"] if run["cycles"] else -1.0
    return run["label"], last, run["seed"]


def _ticket(result: Result, metric: Metric) -> Mapping[str, Any]:
    numbers = {
        name: known(value)
        for name, value in result.metrics.items()
        if is_number(value) and not is_measured(name, value)
    }
    measured = {n: known(value) for n, value in result.metrics.items() if is_measured(n, value)}
    layers = [
        [name, one["size"], one["kept"], one.get("neurons"), one.get("active_neurons"),
         *(one.get("fan_in") or (None, None))[:2]]
        for name, one in result.metrics["layers"].items()
    ]  # fmt: skip
    return {
        "metrics": {**measured, **numbers},
        "seconds": round(result.seconds, 3),
        "layers": layers,
        "fits": list(_curves(result, metric)),
        "made": {name: text for name, text in provenance_of(result).items() if text},
        "warnings": [str(text) for text in result.metrics.get("warnings", ())],
    }


def _curves(result: Result, metric: Metric) -> Iterator[Mapping[str, Any]]:
    """Yield the curves of each fit: epochs, validation, and the losses; none that is damaged."""
    try:
        several = histories(result)
    except (CorruptResult, Damaged, OSError):
        return
    for history in several:
        entries = [entry for entry in history if is_number(entry.get("epoch"))]
        yield {
            "epochs": [known(entry["epoch"]) for entry in entries],
            "validation": [shown(metric, entry.get(f"val_{metric.name}")) for entry in entries],
            "train_loss": [known(entry.get("train_loss")) for entry in entries],
            "val_loss": [known(entry.get("val_loss")) for entry in entries],
        }


def shown(metric: Metric, value: Any) -> float | None:
    """Return a value as it is shown, in percent where the metric is a share; None if unknown."""
    return known(scale(metric) * value) if is_number(value) else None


def known(value: Any) -> float | None:
    """Return a number with as many digits as anybody looks at; None for what is none.

    >>> known(0.123456789), known(float("nan")), known(None)
    (0.123457, None, None)
    """
    if not is_number(value) or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")


def store_roots(results: Sequence[Result]) -> list[str]:
    """Return the stores that results lie in, each once."""
    return list(dict.fromkeys(str(Path(result.store)) for result in results))
