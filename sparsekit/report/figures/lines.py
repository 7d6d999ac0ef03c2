"""Curves of means, with a band of one standard deviation over seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from sparsekit.report.figures.choosing import dense_reference
from sparsekit.report.figures.placing import End
from sparsekit.report.figures.style import DENSE, GREY, Look, looks_of
from sparsekit.report.reading import scale
from sparsekit.report.rows import Row
from sparsekit.report.spread import Spread


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve: what it is called, where its points are, and their spread over seeds."""

    label: str
    look: Look
    xs: Sequence[float]
    spreads: Sequence[Spread]

    def without_gaps(self) -> Line:
        """Return it without the points that are not finite."""
        finite = [
            (x, spread)
            for x, spread in zip(self.xs, self.spreads, strict=True)
            if math.isfinite(x) and math.isfinite(spread.mean)
        ]
        return Line(self.label, self.look, [x for x, _ in finite], [spread for _, spread in finite])


def lines_of(
    rows: Sequence[Row], x_of: Callable[[Row], float], y_of: Callable[[Row], Spread | None]
) -> list[Line]:
    """Return a curve for each label, through the rows that know both; empty ones are left out.

    The dense network that others are compared with is none: it is a line across.
    """
    reference = dense_reference(rows)
    sparse = {row.label for row in rows if row.sparsity > 0}
    lines = []
    for label, look in looks_of_rows(rows).items():
        if reference is not None and label not in sparse:
            continue
        points = [(x_of(row), y_of(row)) for row in rows if row.label == label]
        known = [(x, spread) for x, spread in points if spread is not None]
        line = Line(label, look, [x for x, _ in known], [one for _, one in known]).without_gaps()
        if line.xs:
            lines.append(line)
    return lines


def draw_lines_(axes: Any, lines: Sequence[Line], *, factor: float = 1.0) -> list[End]:
    """Draw curves; return their ends. A curve of one point has a bar in the place of a band."""
    return [_draw_(axes, line, factor) for line in lines]


def looks_of_rows(rows: Sequence[Row]) -> dict[str, Look]:
    """Give each label its look, sparse methods first; the same whichever rows a figure shows."""
    sparse = [row.label for row in rows if row.sparsity > 0]
    return looks_of([*sparse, *(row.label for row in rows)])


def _draw_(axes: Any, line: Line, factor: float) -> End:
    means = [factor * spread.mean for spread in line.spreads]
    deviations = [factor * (spread.deviation or 0.0) for spread in line.spreads]
    if len(means) == 1:
        axes.errorbar(
            line.xs, means, yerr=deviations, capsize=2, elinewidth=0.8, label=line.label,
            **line.look.point,
        )  # fmt: skip
    else:
        low = [mean - deviation for mean, deviation in zip(means, deviations, strict=True)]
        high = [mean + deviation for mean, deviation in zip(means, deviations, strict=True)]
        axes.fill_between(line.xs, low, high, color=line.look.colour, alpha=0.18, linewidth=0)
        axes.plot(line.xs, means, label=line.label, **line.look.line)
    return End(line.label, line.xs[-1], means[-1], line.look)


def draw_dense_(axes: Any, reference: Row | None) -> list[End]:
    """Draw the dense network across, with its band; return its end, or nothing without one."""
    if reference is None or not math.isfinite(reference.primary().mean):
        return []
    factor, spread = scale(reference.metric), reference.primary()
    mean, deviation = factor * spread.mean, factor * (spread.deviation or 0.0)
    axes.axhspan(mean - deviation, mean + deviation, color=GREY, alpha=0.12, linewidth=0)
    axes.axhline(mean, linestyle=DENSE.dashes, linewidth=0.9, color=GREY, label="dense")
    return [End("dense", axes.get_xlim()[1], mean, DENSE)]


def seeds(rows: Sequence[Row]) -> str:
    """Say what points and bands are, and of how many seeds.

    >>> seeds([])
    'one seed each'
    """
    counts = sorted({row.count for row in rows})
    if counts in ([], [1]):
        return "one seed each"
    several = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    return f"mean ± standard deviation, n\u00a0=\u00a0{several}\u00a0seeds"
