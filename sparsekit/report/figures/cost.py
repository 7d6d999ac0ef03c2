"""The primary metric against what it costs, and the front of what nothing beats in both."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from sparsekit.report.figures.choosing import NothingToDraw, dense_reference
from sparsekit.report.figures.lines import draw_dense_, draw_lines_, lines_of, seeds
from sparsekit.report.figures.placing import label_y_, write_below_
from sparsekit.report.figures.scales import set_factors_
from sparsekit.report.figures.style import DENSE, GREY, new_figure
from sparsekit.report.reading import header, scale
from sparsekit.report.rows import Row
from sparsekit.report.spread import Spread

ZERO = Spread(0.0, None, 1)
INFERENCE, TRAINING = "flops", "training_flops"


@dataclasses.dataclass(frozen=True)
class Point:
    """What a row costs and how good it is; of the quality more is better."""

    cost: float
    quality: float
    row: Row


def training_flops(rows: Sequence[Row], sparsity: float | None = None) -> Any:
    """Draw the primary metric against the FLOPs of training, a point for each sparsity."""
    return _draw(rows, TRAINING, "training FLOPs")


def pareto(rows: Sequence[Row], sparsity: float | None = None) -> Any:
    """Draw the primary metric against the FLOPs of a forward pass, with the Pareto front."""
    return _draw(rows, INFERENCE, "FLOPs of one forward pass")


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other is both at most as expensive and at least as good as.

    Ascending in cost, and so in quality; of equal points the first.
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda one: (one.cost, -one.quality)):
        if not kept or point.quality > kept[-1].quality:
            kept.append(point)
    return kept


def _draw(rows: Sequence[Row], name: str, title: str) -> Any:
    known = [row for row in rows if (row.known(name) or ZERO).mean > 0]
    lines = lines_of(known, lambda row: cost(row, name), lambda row: row.primary())
    if not known:
        raise NothingToDraw(f"no result here knows its {title} ({name})")
    if not lines:
        raise NothingToDraw("there is no sparse network whose outputs are numbers")
    figure, axes = new_figure()
    costs = [cost(row, name) for row in known]
    set_factors_(axes.xaxis, min(costs) / 1.2, 1.2 * max(costs))
    ends = draw_lines_(axes, lines, factor=scale(rows[0].metric))
    best = front([Point(cost(row, name), row.quality, row) for row in known])
    _draw_front_(axes, best)
    reference = dense_reference(known)
    if reference is not None:
        mean = scale(reference.metric) * reference.primary().mean
        axes.plot([cost(reference, name)], [mean], **DENSE.point)
    ends += draw_dense_(axes, reference)
    axes.set_xlabel(title)
    label_y_(axes, header(rows[0].metric, "test"))
    names = [(end.text, end.look) for end in ends]
    caption = f"{seeds(known)}; ringed: the Pareto front, where nothing cheaper is as good"
    write_below_(figure, caption, names=names)
    return figure


def _draw_front_(axes: Any, best: Sequence[Point]) -> None:
    xs = [point.cost for point in best]
    ys = [scale(point.row.metric) * point.row.primary().mean for point in best]
    axes.plot(xs, ys, drawstyle="steps-post", color=GREY, linewidth=3, alpha=0.3, zorder=1)
    ring = {"markerfacecolor": "none", "markeredgecolor": GREY, "markersize": 7}
    axes.plot(xs, ys, linestyle="none", marker="o", markeredgewidth=0.7, zorder=3, **ring)


def cost(row: Row, name: str) -> float:
    """Return a cost of a row, mean over its seeds."""
    return row.spread(name).mean
