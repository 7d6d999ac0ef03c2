"""Pictures of results; the only place that imports matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparsekit.report.collect import Result
from sparsekit.report.tables import Row, rows_of

TICKS = (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1)


def accuracy_plot(results: Sequence[Result], path: Path) -> None:
    """Test accuracy against the fraction of weights kept: means, bars of one standard deviation."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    rows = rows_of(results)
    for label in dict.fromkeys(row.label for row in rows):
        _draw(axes, label, [row for row in rows if row.label == label])
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS], minor=False)
    axes.set_xticks([], minor=True)
    least = 100 * min(1 - row.spread("sparsity_prunable").mean for row in rows)
    axes.set_xlim(120, least / 1.2)
    axes.set_xlabel("weights kept (%, of the prunable ones)")
    axes.set_ylabel("test accuracy (%)")
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _draw(axes, label: str, rows: Sequence[Row]) -> None:  # type: ignore[no-untyped-def]
    kept = [100 * (1 - row.spread("sparsity_prunable").mean) for row in rows]
    spreads = [row.spread("test_accuracy") for row in rows]
    means = [100 * spread.mean for spread in spreads]
    bars = [100 * (spread.deviation or 0.0) for spread in spreads]
    if kept == [100.0]:
        axes.axhline(means[0], linestyle="--", color="grey", label=label)
    else:
        axes.errorbar(kept, means, yerr=bars, marker="o", markersize=4, capsize=2, label=label)
