"""What validation said while networks were trained."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from sparsekit.report.figures.choosing import (
    NothingToDraw,
    at_sparsity,
    dense_reference,
    names_of,
    where,
)
from sparsekit.report.figures.lines import Line, draw_lines_, looks_of_rows, seeds
from sparsekit.report.figures.placing import label_y_, name_curves_
from sparsekit.report.figures.style import DENSE, Look, new_figure
from sparsekit.report.histories import History, histories
from sparsekit.report.reading import header, is_number, scale
from sparsekit.report.rows import Row
from sparsekit.report.spread import Spread


def learning_curves(rows: Sequence[Row], sparsity: float | None = None) -> Any:
    """Draw the primary metric on the validation split against epochs, at one sparsity.

    Of the last fit of each method, and of the dense network if there is one. Several fits of one
    ticket count as their mean; only epochs that all seeds know.
    """
    chosen, looks = at_sparsity(rows, sparsity), looks_of_rows(rows)
    named = [
        (row, name, looks[row.label]) for row, name in zip(chosen, names_of(chosen), strict=True)
    ]
    if (reference := dense_reference(rows)) is not None:
        named.append((reference, "dense", DENSE))
    lines = [_line(*one) for one in named]
    drawn = [line.without_gaps() for line in lines if line.xs]
    if not drawn:
        raise NothingToDraw("no fit here knows its history")
    metric = chosen[0].metric
    figure, axes = new_figure()
    ends = draw_lines_(axes, drawn, factor=scale(metric))
    axes.set_xlabel("epochs of training")
    axes.xaxis.get_major_locator().set_params(integer=True)
    label_y_(axes, header(metric, "val"))
    name_curves_(axes, ends, f"{where(chosen)}; {seeds(chosen)}")
    return figure


def _line(row: Row, name: str, look: Look) -> Line:
    measured = f"val_{row.metric.name}"
    curves = [_curve(histories(one), measured) for one in row.results]
    epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
    spreads = [Spread.of(curve[epoch] for curve in curves) for epoch in epochs]
    return Line(name, look, epochs, spreads)


def _curve(several: Sequence[History], name: str) -> dict[float, float]:
    """Return the mean of fits by epoch, of the epochs that all of them know."""
    curves = [
        {
            round(entry["epoch"], 6): entry[name]
            for entry in history
            if is_number(entry.get("epoch")) and is_number(entry.get(name))
        }
        for history in several
    ]
    if not curves:
        return {}
    common = set.intersection(*(set(curve) for curve in curves))
    return {epoch: statistics.fmean(curve[epoch] for curve in curves) for epoch in common}
