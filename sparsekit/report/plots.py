"""The figure of the primary metric, as `--plot` and the end of a sweep draw it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from sparsekit.report.collect import Result
from sparsekit.report.figures.catalogue import draw_to_
from sparsekit.report.figures.choosing import NothingToDraw
from sparsekit.report.figures.quality import quality
from sparsekit.report.rows import by_metric, rows_of


def plot_results(results: Sequence[Result], path: Path) -> None:
    """Draw the primary metric against sparsity; the suffix of the path says as what.

    ValueError for no results, and for results of several primary metrics.
    """
    rows = rows_of(results)
    if not rows:
        raise ValueError("there is no result to plot")
    metrics = [metric.name for metric in by_metric(rows)]
    if len(metrics) > 1:
        raise ValueError(
            f"the results have several primary metrics ({', '.join(metrics)}), which share no "
            "axis: plot those of one"
        )
    draw_to_([path], quality, rows)


def plot_each(results: Sequence[Result], folder: Path) -> list[Path]:
    """Draw one figure for each primary metric, named after it; returns their paths.

    None of networks whose outputs are not numbers.
    """
    figures = []
    for metric, rows in by_metric(rows_of(results)).items():
        path = folder / f"{metric.name.replace('/', '_')}.png"
        with contextlib.suppress(NothingToDraw):
            draw_to_([path], quality, rows)
            figures.append(path)
    return figures
