"""A picture of methods at one sparsity each: a line for each method, the best at the top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparsekit.report.reading import header, scale
from sparsekit.report.rows import Row

INCHES_PER_ROW = 0.22
LEAST_HEIGHT = 2.6
WIDTH = 5.0


def ranked(rows: Sequence[Row], reference: Row | None) -> list[Row]:
    """Return the sparse rows by their primary metric, the worst first.

    None unless there are at least two, each with a label of its own: a method at several sparsities
    is a curve. None either if a dense row holds tickets that `reference`, the line across, does
    not: it would be in no picture.
    """
    sparse = [row for row in rows if row.sparsity > 0]
    alone = len({row.label for row in sparse}) == len(sparse) > 1
    dense = {one.ticket for row in rows if row.sparsity == 0 for one in row.results}
    shown = {one.ticket for one in reference.results} if reference else set()
    if not alone or dense - shown:
        return []
    return sorted(sparse, key=lambda row: row.quality)


def draw_ranking_(axes: Any, rows: Sequence[Row], reference: Row | None) -> None:
    """Draw rows from below: mean and one standard deviation; dense as a vertical line."""
    factor = scale(rows[0].metric)
    spreads = [row.primary() for row in rows]
    axes.errorbar(
        [factor * spread.mean for spread in spreads],
        range(len(rows)),
        xerr=[factor * (spread.deviation or 0.0) for spread in spreads],
        fmt="o",
        markersize=4,
        capsize=2,
        linewidth=1,
    )
    if reference:
        dense = factor * reference.primary().mean
        axes.axvline(dense, linestyle=(0, (6, 3)), linewidth=1, color="grey", label="dense")
        axes.legend(fontsize="small", loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False)
    height = max(LEAST_HEIGHT, 0.8 + INCHES_PER_ROW * len(rows))
    axes.figure.set_size_inches(WIDTH, height)
    axes.set_yticks(range(len(rows)), names(rows), fontsize="small")
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.margins(x=0.08)
    axes.set_xlabel(_title(rows))
    axes.grid(alpha=0.3)


def names(rows: Sequence[Row]) -> list[str]:
    """Return labels, with the sparsity unless all have the same."""
    if len({row.sparsity for row in rows}) == 1:
        return [row.label for row in rows]
    return [f"{row.label} {100 * row.sparsity:.2f}" for row in rows]


def _title(rows: Sequence[Row]) -> str:
    sparsities = {row.sparsity for row in rows}
    where = f"at sparsity {100 * rows[0].sparsity:.2f} %" if len(sparsities) == 1 else ""
    return f"{header(rows[0].metric, 'test')} {where}".rstrip() + f"\n{bars(rows)}"


def bars(rows: Sequence[Row]) -> str:
    """Say what points and bars are, and of how many seeds.

    >>> bars([])
    'one seed each'
    """
    counts = sorted({row.count for row in rows})
    if counts in ([], [1]):
        return "one seed each"
    several = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    return f"mean +- standard deviation over {several} seeds"
