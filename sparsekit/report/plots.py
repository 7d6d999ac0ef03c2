"""Pictures of results; the only place that imports matplotlib."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsekit.report.collect import Result
from sparsekit.report.ranking import bars, draw_ranking_, ranked
from sparsekit.report.reading import header, scale
from sparsekit.report.rows import Row, by_metric, last_parts, rows_of
from sparsekit.system.files import replacing

TICKS = (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1)
MARKERS = "os^Dv<>PXph*d"
DASHES = ("-", "--", ":", "-.")
NUM_COLOURS = 10
MOST_INSIDE = 6
MOST_PER_COLUMN = 16


def plot_results(results: Sequence[Result], path: Path) -> None:
    """Draw the primary metric against the fraction of weights kept: means, and bars of one
    standard deviation over seeds.

    A method at one sparsity is a point; if all are, they are below each other, the best first
    (`ranking`). The dense network is a line across if there is only one; of several, each is a
    point. ValueError for no results, and for results of several primary metrics.
    """
    rows = rows_of(results)
    if not rows:
        raise ValueError("there is no result to plot")
    metrics = [metric.name for metric in by_metric(rows)]
    if len(metrics) > 1:
        raise ValueError(
            f"the results have several primary metrics ({', '.join(metrics)}), which share no "
            "axis: plot those of one"
        )
    _draw_(last_parts(rows), path)


def plot_each(results: Sequence[Result], folder: Path) -> list[Path]:
    """Draw one picture for each primary metric, named after it; returns their paths."""
    pictures = []
    for metric, rows in by_metric(rows_of(results)).items():
        pictures.append(folder / f"{metric.name.replace('/', '_')}.png")
        _draw_(last_parts(rows), pictures[-1])
    return pictures


def _draw_(rows: Sequence[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    reference = dense_reference(rows)
    order = ranked(rows, reference)
    if order:
        draw_ranking_(axes, order, reference)
    else:
        _draw_curves_(axes, rows, reference)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written whole or not at all, and never through a link that lies where the picture belongs.
    partial = path.with_name(f".{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        with replacing(path, partial) as temporary:
            figure.savefig(temporary, dpi=130, bbox_inches="tight")
    finally:
        pyplot.close(figure)


def _draw_curves_(axes: Any, rows: Sequence[Row], reference: Row | None) -> None:
    if reference:
        dense = scale(reference.metric) * reference.primary().mean
        axes.axhline(dense, linestyle=(0, (6, 3)), linewidth=1, color="grey", label="dense")
    sparse = {row.label for row in rows if row.sparsity > 0}
    drawn = [row for row in rows if row.label in sparse or reference is None]
    for number, label in enumerate(dict.fromkeys(row.label for row in drawn)):
        _draw(axes, [row for row in drawn if row.label == label], look=_look(number))
    _label(axes, rows)


def dense_reference(rows: Sequence[Row]) -> Row | None:
    """Return the one dense network: of the dense methods, or else of all rows at sparsity 0.

    None if there are several, of different tickets.
    """
    sparse = {row.label for row in rows if row.sparsity > 0}
    dense = [row for row in rows if row.sparsity == 0]
    alone = [row for row in dense if row.label not in sparse]
    different = {frozenset(one.ticket for one in row.results): row for row in alone or dense}
    return next(iter(different.values())) if len(different) == 1 else None


def _look(number: int) -> dict[str, Any]:
    """Style the curve of this number, so that it can be told from the others.

    No two of the first 40 share both colour and dashes, and no two neighbours share a marker.
    """
    return {
        "color": f"C{number % NUM_COLOURS}",
        "linestyle": DASHES[number // NUM_COLOURS % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def _draw(axes: Any, rows: Sequence[Row], *, look: dict[str, Any]) -> None:
    kept = [100 * (1 - row.spread("sparsity_prunable").mean) for row in rows]
    factor, spreads = scale(rows[0].metric), [row.primary() for row in rows]
    means = [factor * spread.mean for spread in spreads]
    deviations = [factor * (spread.deviation or 0.0) for spread in spreads]
    if len(rows) == 1:
        look = {**look, "linestyle": "none"}
    label = rows[0].label
    axes.errorbar(
        kept, means, yerr=deviations, markersize=5, linewidth=1.2, capsize=2, label=label, **look
    )


def _label(axes: Any, rows: Sequence[Row]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS], minor=False)
    axes.set_xticks([], minor=True)
    least = 100 * min(1 - row.spread("sparsity_prunable").mean for row in rows)
    axes.set_xlim(120, least / 1.2)
    axes.set_xlabel("weights kept (%, of the prunable ones)")
    axes.set_ylabel(f"{header(rows[0].metric, 'test')}\n{bars(rows)}")
    axes.grid(alpha=0.3)
    num = len(axes.get_legend_handles_labels()[1])
    if num <= MOST_INSIDE:
        axes.legend(fontsize="small")
    else:
        columns = 1 + (num - 1) // MOST_PER_COLUMN
        axes.legend(fontsize="small", ncols=columns, loc="upper left", bbox_to_anchor=(1.01, 1.0))
