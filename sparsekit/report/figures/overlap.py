"""How much of the masks of different methods, sparsities and seeds is the same."""

from __future__ import annotations

import itertools
import statistics
import textwrap
from collections.abc import Sequence
from typing import Any

from sparsekit.report.figures.choosing import NothingToDraw, at_sparsity, names_of, where
from sparsekit.report.figures.masks import Masks, masks_of, overlap
from sparsekit.report.figures.placing import write_below_
from sparsekit.report.figures.style import COLUMN, SMALL, new_figure
from sparsekit.report.rows import Row

MOST = 12
LONGEST = 18
BRIGHT = 0.5
"""Up to which part of the scale cells are light, so that what is written on them is black."""


def mask_overlap(rows: Sequence[Row], sparsity: float | None = None) -> Any:
    """Draw the mean Jaccard index of the masks of each two rows, as a matrix.

    Beside the diagonal two methods with the same seed, mean over seeds; on it two seeds of one
    method, mean over their pairs. Methods at one sparsity; of a single method, its sparsities.
    """
    chosen = _chosen(rows, sparsity)
    if len(chosen) == 1 and chosen[0].count == 1:
        raise NothingToDraw("one network alone overlaps with nothing: give seeds, or methods")
    masks = [{one.seed: masks_of(one) for one in row.results} for row in chosen]
    matrix = [[_mean_overlap(one, other) for other in masks] for one in masks]
    side = range(len(chosen))
    figure, axes = new_figure(height=min(COLUMN, 1.2 + 0.35 * len(chosen)))
    known = [[float("nan") if one is None else one for one in line] for line in matrix]
    image = axes.imshow(known, vmin=0, vmax=1, cmap="cividis_r")
    for i, j in itertools.product(side, side):
        value = matrix[i][j]
        colour = "white" if value is not None and value > BRIGHT else "black"
        text = "n/a" if value is None else f"{value:.2f}"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=_size(len(chosen)))
    names = _names(chosen)
    below = [textwrap.shorten(name, 2 * LONGEST, placeholder=" ...") for name in names]
    axes.set_xticks(side, below, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(side, [textwrap.fill(name, LONGEST, max_lines=2) for name in names])
    axes.grid(False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, label="Jaccard index", fraction=0.05)
    write_below_(figure, *_captions(chosen))
    return figure


def by_chance(densities: Sequence[float]) -> float:
    """Return the index that two random masks of these mean densities have, over whole networks.

    >>> round(by_chance([0.1, 0.1]), 4)
    0.0526
    """
    one, other = densities
    both = one * other
    return both / (one + other - both)


def _chosen(rows: Sequence[Row], sparsity: float | None) -> list[Row]:
    labels = {row.label for row in rows if row.sparsity > 0}
    if len(labels) == 1 and sparsity is None:
        return [row for row in rows if row.sparsity > 0][-MOST:]
    return at_sparsity(rows, sparsity)[:MOST]


def _names(rows: Sequence[Row]) -> list[str]:
    if len({row.label for row in rows}) == 1:
        return [f"{100 * row.sparsity:.4g} %" for row in rows]
    return names_of(rows)


def _mean_overlap(one: dict[int, Masks], other: dict[int, Masks]) -> float | None:
    """Return the mean over seeds that both have, or over pairs of seeds of one and the same."""
    if one is other:
        pairs = list(itertools.combinations(one.values(), 2))
    else:
        pairs = [(one[seed], other[seed]) for seed in one if seed in other]
    found = [overlap(*pair) for pair in pairs]
    known = [value for value in found if value is not None]
    return statistics.fmean(known) if known else None


def _captions(rows: Sequence[Row]) -> list[str]:
    density = 1 - statistics.fmean(row.sparsity for row in rows)
    chance = f"two random masks: {by_chance([density, density]):.2f}"
    place = f"{where(rows)}; {chance}" if len({row.label for row in rows}) > 1 else rows[0].label
    return [place, "on the diagonal two seeds of one method, beside it two methods with one seed"]


def _size(num: int) -> float:
    return SMALL if num <= 8 else SMALL - 1
