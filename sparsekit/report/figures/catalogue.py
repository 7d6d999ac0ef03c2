"""All figures by name, and writing them into files that papers take unchanged."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.report.figures.barriers import barriers
from sparsekit.report.figures.choosing import NothingToDraw
from sparsekit.report.figures.cost import pareto, training_flops
from sparsekit.report.figures.fan_in import fan_in
from sparsekit.report.figures.layers import layer_density
from sparsekit.report.figures.learning import learning_curves
from sparsekit.report.figures.overlap import mask_overlap
from sparsekit.report.figures.quality import quality
from sparsekit.report.figures.reliability import reliability
from sparsekit.report.figures.style import styled
from sparsekit.report.rows import Row, by_metric, last_parts
from sparsekit.system.files import replacing

Draw = Callable[[Sequence[Row], float | None], Any]
"""Draws rows of one primary metric, at one sparsity where that is asked for; a figure of
matplotlib. NothingToDraw where the results do not know what it is about."""

FIGURES: Mapping[str, Draw] = {
    "quality": quality,
    "training_flops": training_flops,
    "pareto": pareto,
    "layer_density": layer_density,
    "mask_overlap": mask_overlap,
    "fan_in": fan_in,
    "barriers": barriers,
    "learning_curves": learning_curves,
    "reliability": reliability,
}
FILE_TYPES = ("pdf", "svg", "png")
UNDATED: Mapping[str, Mapping[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""So that the same results are the same file."""


def figure_names(text: str) -> list[str]:
    """Split names at commas; ValueError for one that is no figure.

    >>> figure_names("quality,pareto")
    ['quality', 'pareto']
    """
    return _known(text, "figure", list(FIGURES))


def file_types(text: str) -> list[str]:
    """Split file types at commas; ValueError for one that is not written."""
    return _known(text, "file type", FILE_TYPES)


def draw_figures(
    rows: Sequence[Row],
    folder: Path,
    names: Sequence[str] | None,
    types: Sequence[str] = FILE_TYPES,
    *,
    sparsity: float | None = None,
) -> tuple[list[Path], list[str]]:
    """Write figures as `FOLDER/NAME.TYPE`; return the files, and why others are not there.

    Results of several primary metrics have a figure for each of them, `NAME-METRIC.TYPE`. Without
    names it is every figure that the results know enough for. NothingToDraw where one that is named
    cannot be drawn.
    """
    written: list[Path] = []
    missing: list[str] = []
    groups = by_metric(rows)
    if not groups:
        raise NothingToDraw("there is no result to draw")
    for name in FIGURES if names is None else names:
        for metric, several in groups.items():
            stem = name if len(groups) == 1 else f"{name}-{metric.name.replace('/', '_')}"
            paths = [folder / f"{stem}.{one}" for one in types]
            try:
                draw_to_(paths, FIGURES[name], several, sparsity)
            except NothingToDraw as reason:
                if names is not None:
                    raise NothingToDraw(f"{stem}: {reason}") from reason
                missing.append(f"no figure {stem}: {reason}")
            else:
                written += paths
    return written, missing


def draw_to_(
    paths: Sequence[Path],
    draw: Draw,
    rows: Sequence[Row],
    sparsity: float | None = None,
    *,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Draw one figure and write it to files, each whole or not at all.

    `notes` are kept in the files, which must then be PNGs.
    """
    with styled():
        figure = draw(last_parts(rows), sparsity)
        for path in paths:
            write_figure(figure, path, notes)


def write_figure(figure: Any, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Write a figure to a file of the kind that its name says, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.removeprefix(".").lower()
    # Never through a link that lies where the figure belongs.
    partial = path.with_name(f".{uuid.uuid4().hex}.partial{path.suffix}")
    with replacing(path, partial) as temporary:
        figure.savefig(temporary, metadata=UNDATED.get(kind, notes))


def _known(text: str, what: str, valid: Sequence[str]) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in valid:
            raise ValueError(f"{what} {name!r}: must be one or several of {', '.join(valid)}")
    return names
