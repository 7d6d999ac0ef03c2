"""How often networks are right where they are how sure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from sparsekit.report.figures.choosing import (
    NothingToDraw,
    at_sparsity,
    dense_reference,
    names_of,
    where,
)
from sparsekit.report.figures.lines import Line, draw_lines_, looks_of_rows, seeds
from sparsekit.report.figures.placing import write_below_
from sparsekit.report.figures.style import DENSE, GREY, Look, new_figure
from sparsekit.report.rows import Row
from sparsekit.report.spread import Spread

STUDY = "calibration"
LEAST_SHARE = 0.01


def reliability(rows: Sequence[Row], sparsity: float | None = None) -> Any:
    """Draw accuracy against confidence, bin by bin, at one sparsity; the diagonal is calibrated.

    Each seed has bins of its own, and a point is the mean over seeds that have examples in it. The
    name has the mean expected calibration error (ECE), in percent.
    """
    studied = [row for row in rows if any(STUDY in one.studies for one in row.results)]
    if not studied:
        raise NothingToDraw(f"no result has the study `{STUDY}` (python -m sparsekit.study)")
    sparse = [row for row in studied if row.sparsity > 0]
    chosen = at_sparsity(studied, sparsity) if sparse else studied
    reference = dense_reference(studied)
    looks = looks_of_rows(rows)
    named = [
        (row, name, looks[row.label]) for row, name in zip(chosen, names_of(chosen), strict=True)
    ]
    if reference is not None:
        named.append((reference, "dense", DENSE))
    lines = [_line(row, f"{name} (ECE {_error(row):.1f} %)", look) for row, name, look in named]
    figure, axes = new_figure(height=2.7)
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8)
    ends = draw_lines_(axes, lines, factor=100)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_xlabel("confidence (%)")
    caption = (
        f"{where(chosen)}; {seeds(studied)}; grey: calibrated; bins of at least 1 % of the examples"
    )
    axes.set_ylabel("test accuracy (%)")
    write_below_(figure, caption, names=[(end.text, end.look) for end in ends])
    return figure


def binned(study: Mapping[str, Any]) -> dict[int, tuple[float, float]]:
    """Return confidence and accuracy of each bin by its number; few examples say nothing."""
    num, total = study["num_bins"], sum(one["count"] for one in study["bins"])
    return {
        min(num - 1, max(0, -int(-one["confidence"] * num // 1) - 1)): (
            one["confidence"],
            one["accuracy"],
        )
        for one in study["bins"]
        if one["count"] >= LEAST_SHARE * total
    }


def _studies(row: Row) -> list[Mapping[str, Any]]:
    return [one.studies[STUDY] for one in row.results if STUDY in one.studies]


def _line(row: Row, name: str, look: Look) -> Line:
    found = [binned(study) for study in _studies(row)]
    numbers = sorted({number for one in found for number in one})
    points = [[one[number] for one in found if number in one] for number in numbers]
    xs = [100 * statistics.fmean(confidence for confidence, _ in two) for two in points]
    return Line(name, look, xs, [Spread.of(accuracy for _, accuracy in two) for two in points])


def _error(row: Row) -> float:
    return 100 * statistics.fmean(study["ece"] for study in _studies(row))
