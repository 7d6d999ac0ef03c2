"""What is printed while runs are computed, and when they are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.method.loop import Turn
from sparsekit.report.collect import collect
from sparsekit.report.reading import metric_of
from sparsekit.report.tables import terminal
from sparsekit.store.sealing import SESSION
from sparsekit.store.store import Store
from sparsekit.system.printing import remark


def progress(title: str, turn: Turn, store: Store) -> str:
    """Say in one line what a cycle has reached."""
    metrics = store.read(turn.ticket, "metrics.json")
    mine = store.description(turn.ticket)["provenance"]["session"] == SESSION
    empty, metric = metrics["collapsed"], metric_of(metrics)
    validation = metrics[f"val_{metric.name}"]
    reached = "not a number" if validation is None else metric.text(validation)
    return (
        f"{title} cycle {turn.cycle.index}: sparsity {metrics['sparsity_prunable']:.2%}, "
        f"validation {reached} ({metric.name}){'' if mine else ' (already computed)'}"
        f"{'; layer collapse: nothing is left of ' + ', '.join(empty) if empty else ''}"
    )


def conclude(store: Store, experiment: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Print the table of finished runs, draw their pictures, say how much was computed now."""
    from sparsekit.report.plots import plot_each

    results = collect([Path(record["path"]) for record in records], note=remark)
    print(terminal(results))
    pictures = plot_each(results, store.root / "named" / experiment)
    tickets = [row["ticket"] for record in records for row in record["rows"]]
    stages = store.ancestors(*tickets)
    computed = sum(s["provenance"]["session"] == SESSION for s in stages.values())
    print(*(f"picture: {picture}" for picture in pictures), sep="\n")
    print(f"{computed} stages were computed, {len(stages) - computed} were there already")
