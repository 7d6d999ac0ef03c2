"""Methods at one sparsity each: a line of the figure for each of them, the best at the top."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from sparsekit.report.figures.choosing import names_of, where
from sparsekit.report.figures.lines import seeds
from sparsekit.report.figures.placing import write_below_
from sparsekit.report.figures.style import COLOURS, GREY, SMALL
from sparsekit.report.reading import header, scale
from sparsekit.report.rows import Row

INCHES_PER_LINE = 0.14
INCHES_AROUND = 0.6
LONGEST_LINE = 30


def ranked(rows: Sequence[Row], reference: Row | None) -> list[Row]:
    """Return the sparse rows by their primary metric, the worst first.

    Without any it is the dense rows. None unless each has a label of its own: a method at several
    sparsities is a curve. None either if a dense row holds tickets that `reference`, the line
    across, does not: it would be in no figure.
    """
    sparse = [row for row in rows if row.sparsity > 0]
    if not sparse:
        return sorted(rows, key=lambda row: row.quality)
    alone = len({row.label for row in sparse}) == len(sparse) > 0
    dense = {one.ticket for row in rows if row.sparsity == 0 for one in row.results}
    shown = {one.ticket for one in reference.results} if reference else set()
    if not alone or dense - shown:
        return []
    return sorted(sparse, key=lambda row: row.quality)


def height_of(rows: Sequence[Row]) -> float:
    """Return how high a figure of these rows must be, in inches."""
    lines = sum(1.3 + name.count("\n") for name in _names(rows))
    return INCHES_AROUND + INCHES_PER_LINE * max(lines, 3)


def draw_ranking_(axes: Any, rows: Sequence[Row], reference: Row | None) -> None:
    """Draw rows from below: seeds, mean and one standard deviation; dense as a vertical line."""
    factor = scale(rows[0].metric)
    spreads = [row.primary() for row in rows]
    axes.errorbar(
        [factor * spread.mean for spread in spreads],
        range(len(rows)),
        xerr=[factor * (spread.deviation or 0.0) for spread in spreads],
        fmt="o",
        capsize=2,
        elinewidth=1,
        color=COLOURS[0],
    )
    for place, row in enumerate(rows):
        name = f"test_{row.metric.name}"
        known = [factor * one.metrics[name] for one in row.results if one.metrics[name] is not None]
        if len(known) > 1:
            axes.plot(known, [place] * len(known), "|", color=GREY, markersize=5, alpha=0.7)
    if reference:
        dense = factor * reference.primary().mean
        axes.axvline(dense, linestyle=(0, (6, 3)), linewidth=0.9, color=GREY, label="dense")
        above = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        axes.text(dense, 1.01, "dense", fontsize=SMALL, **above)
    axes.set_yticks(range(len(rows)), _names(rows))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.margins(x=0.08)
    axes.set_xlabel(header(rows[0].metric, "test"))
    write_below_(axes.figure, _caption(rows))


def _names(rows: Sequence[Row]) -> list[str]:
    return [textwrap.fill(name, LONGEST_LINE, max_lines=2) for name in names_of(rows)]


def _caption(rows: Sequence[Row]) -> str:
    marks = "; ticks: seeds" if any(row.count > 1 for row in rows) else ""
    return f"{where(rows)}: {seeds(rows)}{marks}"
