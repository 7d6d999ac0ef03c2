"""How the error rises on the straight line between two networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sparsekit.report.figures.choosing import NothingToDraw
from sparsekit.report.figures.lines import Line, draw_lines_, looks_of_rows, seeds
from sparsekit.report.figures.placing import label_y_, name_curves_
from sparsekit.report.figures.quality import percent
from sparsekit.report.figures.scales import set_sparsity_
from sparsekit.report.figures.style import DASHES, GREY, new_figure
from sparsekit.report.particles import measures
from sparsekit.report.reading import scale
from sparsekit.report.rows import Row
from sparsekit.report.spread import Spread

KINDS: Mapping[str, str] = {"particles": "between particles", "cycles": "to the cycle before"}


def barriers(rows: Sequence[Row], sparsity: float | None = None) -> Any:
    """Draw the highest barrier of the test error against sparsity, mean over seeds.

    Between the particles of a cycle, and from the ticket of the cycle before; 0 is linear mode
    connectivity (Frankle et al. 2020).
    """
    known = [row for row in rows if any("barriers" in one.studies for one in row.results)]
    lines = [line for kind in KINDS for line in _lines(rows, kind)]
    if not lines:
        raise NothingToDraw("no result has the study `barriers` (python -m sparsekit.study)")
    metric = known[0].metric
    figure, axes = new_figure()
    set_sparsity_(axes, [x for line in lines for x in line.xs])
    ends = draw_lines_(axes, lines, factor=scale(metric))
    axes.axhline(0, color=GREY, linewidth=0.6)
    error = "error (percentage points)" if metric.style == "percent" else "error"
    label_y_(axes, f"barrier of the test {error}")
    axes.set_xlabel("sparsity (%)")
    name_curves_(axes, ends, seeds(known))
    return figure


def _lines(rows: Sequence[Row], kind: str) -> list[Line]:
    lines = []
    for label, look in looks_of_rows(rows).items():
        points = [(percent(row), _barrier(row, kind)) for row in rows if row.label == label]
        known = [(x, spread) for x, spread in points if spread is not None]
        if known:
            name = f"{label}, {KINDS[kind]}"
            dashed = dataclasses.replace(look, dashes=DASHES[list(KINDS).index(kind)])
            lines.append(Line(name, dashed, [x for x, _ in known], [one for _, one in known]))
    return lines


def _barrier(row: Row, kind: str) -> Spread | None:
    found = [measures(one.studies, row.metric) for one in row.results]
    return Spread.of_all(one.get(f"test_barrier_{kind}") for one in found)
