"""The figure of the primary metric, as `--plot` and the end of a sweep draw it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

from sparsekit.report import figures
from sparsekit.report.collect import Result
from sparsekit.report.figures.catalogue import draw_to_
from sparsekit.report.figures.choosing import NothingToDraw
from sparsekit.report.figures.quality import quality
from sparsekit.report.rows import Row, by_metric, rows_of
from sparsekit.system.files import open_regular
from sparsekit.system.machine import versions

SHOWN = "Shown"
"""The note in a picture that says which results it shows."""


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

    None of networks whose outputs are not numbers. A picture that shows these results already stays
    as it is: importing what draws takes longer than all else that is done for stored results.
    """
    pictures = []
    for metric, rows in by_metric(rows_of(results)).items():
        path = folder / f"{metric.name.replace('/', '_')}.png"
        shown = _digest(rows)
        with contextlib.suppress(NothingToDraw):
            if _shown_in(path) != shown:
                draw_to_([path], quality, rows, notes={SHOWN: shown})
            pictures.append(path)
    return pictures


def _digest(rows: Sequence[Row]) -> str:
    """Return what tells apart what a picture shows: the rows, and the code that draws them."""
    digest = hashlib.sha256(repr((rows, sorted(versions().items()))).encode())
    for file in sorted(Path(figures.__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _shown_in(picture: Path) -> str | None:
    from PIL import Image

    try:
        with open_regular(picture) as file, Image.open(file, formats=["PNG"]) as opened:
            return str(opened.info.get(SHOWN))
    except (OSError, ValueError, SyntaxError):
        return None
