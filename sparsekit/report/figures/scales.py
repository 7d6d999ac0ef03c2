"""The axis of sparsities: as far apart as the weights that are kept, in equal factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

TICKS = (0, 90, 99, 99.9, 99.99, 50, 95, 99.5, 99.95, 80, 98, 99.8, 99.98)
FURTHER = (70, 85, 20, 60)
"""In percent, the ones that matter most first; and where these are fewer than `ENOUGH`, others."""
ENOUGH = 4
LEAST_GAP = 0.1
"""Between two ticks, as a part of the axis: room for the figures of both."""
MOST = 99.9999
FEW_POWERS = 200
"""Up to this ratio of its ends, a logarithmic axis has numbers at 1, 2 and 5."""


def position(percent: float) -> float:
    """Return where a sparsity stands: one further for every tenth of the weights that is left.

    >>> [round(position(percent), 6) for percent in (0, 90, 99)]
    [0.0, 1.0, 2.0]
    """
    return 2 - math.log10(100 - min(percent, MOST))


def sparsity_at(place: float) -> float:
    """Return the sparsity in percent that stands at a place.

    >>> sparsity_at(position(95))
    95.0
    """
    return round(100 - 10 ** (2 - place), 9)


def ticks(low: float, high: float) -> list[float]:
    """Choose the sparsities to write on an axis between two of them, in percent.

    >>> ticks(0, 98), ticks(80, 95)
    ([0, 50, 80, 90, 95, 98], [80, 85, 90, 95])
    """
    chosen: list[float] = []
    span = position(high) - position(low)
    for tick in (*TICKS, *FURTHER):
        if tick in FURTHER and len(chosen) >= ENOUGH:
            break
        gap = span * (LEAST_GAP if tick == round(tick) else 1.4 * LEAST_GAP)
        is_free = all(abs(position(tick) - position(other)) >= gap for other in chosen)
        if low - 1e-9 <= tick <= high + 1e-9 and is_free:
            chosen.append(tick)
    return sorted(chosen)


def set_factors_(axis: Any, low: float, high: float) -> None:
    """Make an axis logarithmic, from `low` to `high`, with numbers that need no superscripts."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    getattr(axis.axes, f"set_{axis.axis_name}lim")(low, high)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < FEW_POWERS else (1,)))
    axis.set_major_formatter(EngFormatter(sep="\u2009") if high > 1e3 else "{x:g}")
    axis.set_minor_formatter(NullFormatter())


def set_sparsity_(axes: Any, percents: Sequence[float]) -> None:
    """Make the horizontal axis one of sparsities, with room for all of these."""
    import numpy

    def forward(values: Any) -> Any:
        return 2 - numpy.log10(100 - numpy.minimum(values, MOST))

    low, high = min(percents), max(percents)
    margin = 0.04 * (position(high) - position(low)) or 0.05
    axes.set_xscale("function", functions=(forward, lambda places: 100 - 10.0 ** (2 - places)))
    ends = sparsity_at(position(low) - margin), sparsity_at(position(high) + margin)
    axes.set_xlim(*ends)
    shown = ticks(*ends) or [round(low, 2)]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.set_xticks([], minor=True)
