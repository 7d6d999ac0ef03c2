"""What each layer keeps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sparsekit.report.figures.choosing import at_sparsity, names_of, where
from sparsekit.report.figures.lines import looks_of_rows, seeds
from sparsekit.report.figures.placing import write_below_
from sparsekit.report.figures.scales import set_factors_
from sparsekit.report.figures.style import new_figure
from sparsekit.report.rows import Row
from sparsekit.report.spread import Spread

MOST_NAMED = 12


def layer_density(rows: Sequence[Row], sparsity: float | None = None) -> Any:
    """Draw the fraction of weights that each layer keeps, at one sparsity, on a log axis.

    Layers that keep nothing stand on the lower edge.
    """
    chosen = at_sparsity(rows, sparsity)
    layers = sorted({name for row in chosen for name in row.layers}, key=numbered)
    densities = [[_density(row, layer) for layer in layers] for row in chosen]
    positive = [one.mean for row in densities for one in row if one and one.mean > 0]
    floor = min(positive, default=1e-3) / 2
    figure, axes = new_figure(height=2.6)
    names, looks, shown = names_of(chosen), looks_of_rows(rows), []
    for number, (row, name, layer) in enumerate(zip(chosen, names, densities, strict=True)):
        places = [place for place, one in enumerate(layer) if one]
        means = [100 * max(one.mean, floor) for one in layer if one]
        deviations = [100 * (one.deviation or 0.0) for one in layer if one]
        shift = 0.12 * (number - (len(chosen) - 1) / 2) / max(1, len(chosen) / 4)
        moved = [place + shift for place in places]
        look = looks[row.label]
        axes.errorbar(moved, means, yerr=deviations, capsize=1.5, elinewidth=0.7, **look.line)
        shown.append((name, look))
    set_factors_(axes.yaxis, 100 * floor, 130 * max(positive, default=1.0))
    axes.set_ylabel("weights kept (%)")
    _name_layers_(axes, layers)
    axes.set_xlabel("layer")
    write_below_(figure, f"{where(chosen)}; {seeds(chosen)}", names=shown)
    return figure


def numbered(layer: str) -> list[tuple[int, str]]:
    """Return what sorts names of layers by the numbers in them, as networks mostly go.

    >>> sorted(["features.10", "features.2"], key=numbered)
    ['features.2', 'features.10']
    """
    pieces = re.split(r"(\d+)", layer)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def _density(row: Row, layer: str) -> Spread | None:
    found = [one["kept"] / one["size"] for one in row.layer(layer) if one["size"]]
    return Spread.of(found) if found else None


def _name_layers_(axes: Any, layers: Sequence[str]) -> None:
    """Write the names of layers, or of some in between where there are many."""
    step = -(-len(layers) // MOST_NAMED)
    names = [short_name(layer) for layer in layers]
    shown = range(0, len(layers), step)
    is_long = sum(len(names[place]) + 2 for place in shown) > 45
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
    axes.set_xticks(list(shown), [names[place] for place in shown], **slanted)
    axes.set_xlim(-0.5, len(layers) - 0.5)


def short_name(layer: str) -> str:
    """Shorten the name of a parameter to that of its module, unless that is a mere number.

    >>> short_name("layer1.0.conv1.weight"), short_name("3.weight")
    ('layer1.0.conv1', '3.weight')
    """
    module = layer.removesuffix(".weight")
    return layer if module.isdigit() else module
