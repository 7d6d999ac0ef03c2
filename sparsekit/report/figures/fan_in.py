"""How many weights neurons keep: a histogram for each layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from sparsekit.report.figures.choosing import at_sparsity, names_of, where
from sparsekit.report.figures.layers import numbered, short_name
from sparsekit.report.figures.lines import looks_of_rows
from sparsekit.report.figures.masks import fan_ins, masks_of
from sparsekit.report.figures.placing import write_below_
from sparsekit.report.figures.style import SMALL, Look, new_figure
from sparsekit.report.rows import Row

MOST_LAYERS = 5
BINS = 24


def fan_in(rows: Sequence[Row], sparsity: float | None = None) -> Any:
    """Draw, for each layer, which share of its neurons keeps how many weights, at one sparsity.

    The neurons of all seeds of a method together. Of networks with many layers, some of them,
    evenly spaced from the first to the last.
    """
    chosen = at_sparsity(rows, sparsity)
    counts, looks = [_counts(row) for row in chosen], looks_of_rows(rows)
    layers = _spaced(sorted({name for one in counts for name in one}, key=numbered))
    figure, panels = new_figure(height=0.55 + 0.8 * len(layers), rows=len(layers), squeeze=False)
    for axes, layer in zip(panels[:, 0], layers, strict=True):
        found = [one.get(layer, []) for one in counts]
        edges = bin_edges(max((max(one, default=0) for one in found), default=0))
        for row, one in zip(chosen, found, strict=True):
            if one:
                _draw_(axes, one, edges, looks[row.label])
        inside = {"transform": axes.transAxes, "ha": "right", "va": "top", "fontsize": SMALL}
        axes.text(0.99, 0.97, short_name(layer), **inside)
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels[-1, 0].set_xlabel("weights kept per neuron (fan-in)")
    figure.supylabel("share of neurons (%)", fontsize=8)
    named = zip(names_of(chosen), (looks[row.label] for row in chosen), strict=True)
    write_below_(figure, f"{where(chosen)}; neurons of all seeds", names=list(named))
    return figure


def bin_edges(most: int) -> list[float]:
    """Return the edges of bins of whole numbers from 0 to `most`, of equal width.

    >>> bin_edges(3)
    [-0.5, 0.5, 1.5, 2.5, 3.5]
    """
    width = max(1, math.ceil((most + 1) / BINS))
    return [width * number - 0.5 for number in range(math.ceil((most + 1) / width) + 1)]


def shares(counts: Sequence[int], edges: Sequence[float]) -> list[float]:
    """Return the percentage of counts in each bin.

    >>> shares([0, 2, 2, 3], bin_edges(3))
    [25.0, 0.0, 50.0, 25.0]
    """
    width = edges[1] - edges[0]
    found = [0] * (len(edges) - 1)
    for count in counts:
        found[int((count - edges[0]) // width)] += 1
    return [100 * one / len(counts) for one in found]


def _draw_(axes: Any, counts: Sequence[int], edges: Sequence[float], style: Look) -> None:
    heights = shares(counts, edges)
    axes.stairs(heights, edges, color=style.colour, linestyle=style.dashes, linewidth=1.1)
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    marked = [(x, y) for x, y in zip(middles, heights, strict=True) if y > 0]
    axes.plot([x for x, _ in marked], [y for _, y in marked], **style.point, markersize=2.6)


def _counts(row: Row) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for one in row.results:
        for name, mask in masks_of(one).items():
            found.setdefault(name, []).extend(fan_ins(mask))
    return found


def _spaced(layers: Sequence[str]) -> list[str]:
    if len(layers) <= MOST_LAYERS:
        return list(layers)
    last = len(layers) - 1
    return [layers[round(number * last / (MOST_LAYERS - 1))] for number in range(MOST_LAYERS)]
