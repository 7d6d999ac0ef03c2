"""The primary metric against sparsity: curves, or a ranking of methods at one sparsity each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparsekit.report.figures.choosing import NothingToDraw, dense_reference
from sparsekit.report.figures.lines import draw_dense_, draw_lines_, lines_of, seeds
from sparsekit.report.figures.placing import label_y_, name_curves_
from sparsekit.report.figures.ranking import draw_ranking_, height_of, ranked
from sparsekit.report.figures.scales import set_sparsity_
from sparsekit.report.figures.style import new_figure
from sparsekit.report.reading import header, scale
from sparsekit.report.rows import Row


def quality(rows: Sequence[Row], sparsity: float | None = None) -> Any:
    """Draw the primary metric on the test split against the sparsity of the prunable weights.

    The dense network is a line across if there is only one; of several, each is a point. Where
    every method has one sparsity they stand below each other, the best first. `sparsity` is not
    asked for: a curve has many.
    """
    reference = dense_reference(rows)
    order = ranked(rows, reference)
    if order:
        figure, axes = new_figure(height=height_of(order))
        draw_ranking_(axes, order, reference)
        return figure
    lines = lines_of(rows, percent, lambda row: row.primary())
    if not lines:
        raise NothingToDraw(f"no result has a finite test {rows[0].metric.name}")
    figure, axes = new_figure()
    set_sparsity_(axes, [x for line in lines for x in line.xs])
    ends = draw_lines_(axes, lines, factor=scale(rows[0].metric))
    ends += draw_dense_(axes, reference)
    axes.set_xlabel("sparsity (%)")
    label_y_(axes, header(rows[0].metric, "test"))
    name_curves_(axes, ends, seeds(rows))
    return figure


def percent(row: Row) -> float:
    """Return how many of the prunable weights are gone, in percent, mean over seeds."""
    return 100 * row.spread("sparsity_prunable").mean
