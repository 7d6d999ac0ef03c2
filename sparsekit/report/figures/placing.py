"""Names of curves: beside their ends where that can be read, else below the figure."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Sequence
from typing import Any

from sparsekit.report.figures.style import CHARACTERS, DENSE, SMALL, Look

MOST_BESIDE = 9
LONGEST_BESIDE = 22
LONGEST = 56
POINTS_PER_LINE = 1.25 * SMALL
EDGE = 1.03
"""Where names begin, right of the axes, as parts of their width."""


@dataclasses.dataclass(frozen=True)
class End:
    """Where a curve ends, what it is called and how it looks."""

    text: str
    x: float
    y: float
    look: Look


def spread_out(wanted: Sequence[float], gap: float) -> list[float]:
    """Return ascending places at least `gap` apart, as near to the ascending wanted ones as can be.

    The least sum of squared distances: neighbours that are too close become a block, which stands
    where its members wish on average.

    >>> spread_out([0.0, 5.0, 5.5, 9.0], 1.0)
    [0.0, 4.75, 5.75, 9.0]
    """
    blocks: list[list[float]] = []
    for number, place in enumerate(wanted):
        blocks.append([place - number * gap])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    levels = [_mean(block) for block in blocks for _ in block]
    return [level + number * gap for number, level in enumerate(levels)]


def within(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move places that are `gap` apart between two bounds, if there is room for all of them.

    >>> within([-1.0, 0.0, 9.5], 1.0, 0.0, 9.0)
    [0.0, 1.0, 9.0]
    """
    room = (len(places) - 1) * gap
    low = min(low, (low + high - room) / 2)
    high = max(high, low + room)
    last = len(places) - 1
    return [
        min(max(place, low + number * gap), high - (last - number) * gap)
        for number, place in enumerate(places)
    ]


def name_curves_(axes: Any, ends: Sequence[End], *sentences: str) -> None:
    """Write the names of curves at the right of the axes, each at the end of its own.

    Too many names, or too long ones, go below the figure as a legend. The sentences are a caption.
    """
    ends = [end for end in ends if math.isfinite(end.y)]
    is_readable = all(len(end.text) <= LONGEST_BESIDE for end in ends)
    if is_readable and len(ends) <= MOST_BESIDE:
        write_below_(axes.figure, *sentences)
        _beside_(axes, sorted(ends, key=lambda end: end.y))
    else:
        write_below_(axes.figure, *sentences, names=[(end.text, end.look) for end in ends])


def write_below_(figure: Any, *sentences: str, names: Sequence[tuple[str, Look]] = ()) -> None:
    """Put a caption in small print below a figure, and a legend; it grows by their height."""
    from matplotlib.lines import Line2D

    texts = [shortened(text) for text, _ in names]
    columns = max(1, min(3, CHARACTERS // (10 + max(map(len, texts), default=1))))
    caption = [line for text in sentences for line in textwrap.wrap(text, CHARACTERS)]
    figure.legend(
        [Line2D([], [], **_sample(look)) for _, look in names],
        texts,
        title="\n".join(caption),
        title_fontproperties={"size": SMALL},
        loc="outside lower center",
        ncols=columns,
        columnspacing=1.0,
        handletextpad=0.5,
        borderpad=0.1,
    )
    lines = len(caption) + 1.3 * math.ceil(len(texts) / columns)
    figure.set_figheight(figure.get_figheight() + 1.25 * SMALL * lines / 72)


def label_y_(axes: Any, text: str) -> None:
    """Name the vertical axis, in two lines where it is not as high as the name is long."""
    inches = axes.figure.get_figheight()
    axes.set_ylabel(textwrap.fill(text, max(16, int(14 * inches))))


def shortened(text: str) -> str:
    """Cut a name that is longer than a column is wide.

    >>> len(shortened("x" * 80))
    56
    """
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _beside_(axes: Any, ends: Sequence[End]) -> None:
    figure = axes.figure
    figure.draw_without_rendering()  # the layout decides how high the axes are
    height = axes.get_window_extent().height * 72 / figure.dpi
    to_axes = axes.transData + axes.transAxes.inverted()
    points = [tuple(to_axes.transform((end.x, end.y))) for end in ends]
    gap = POINTS_PER_LINE / height
    places = within(spread_out([y for _, y in points], gap), gap, 0.0, 1.0)
    for end, (x, y), place in zip(ends, points, places, strict=True):
        outside = {"transform": axes.transAxes, "clip_on": False, "color": end.look.colour}
        axes.plot([x, EDGE], [y, place], linewidth=0.5, linestyle="-", alpha=0.6, **outside)
        if end.look is not DENSE:
            axes.plot([EDGE], [place], marker=end.look.marker, linestyle="none", **outside)
        axes.text(
            EDGE + 0.025, place, end.text, transform=axes.transAxes, va="center", fontsize=SMALL
        )


def _sample(look: Look) -> dict[str, Any]:
    """Return how a legend shows a look; the dense network is a line without points."""
    return {**look.line, "marker": ""} if look is DENSE else look.line


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
