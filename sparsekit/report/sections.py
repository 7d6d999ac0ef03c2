"""What a report consists of: the main table, and the sections that were asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from sparsekit.report.differences import differences
from sparsekit.report.differences import title as differences_title
from sparsekit.report.essential import curve_points, essential_sparsities
from sparsekit.report.formats import FORMATS, Table, section
from sparsekit.report.particles import particles
from sparsekit.report.particles import title as particles_title
from sparsekit.report.reading import amount
from sparsekit.report.rows import Row, by_metric
from sparsekit.report.storage import storage
from sparsekit.report.structure import exploration, has_inactive, layers, structure
from sparsekit.report.studied import studies_table
from sparsekit.report.tables import Section, all_metrics, main_sections, main_table
from sparsekit.tasks.metric import ACCURACY, Metric


def written(rows: Sequence[Row], options: argparse.Namespace) -> tuple[str, Sequence[str]]:
    """Return the text of all that is asked for, and for CSV the notes, which are not part of it."""
    if options.format == "csv":
        table = _only_table(rows, options)
        return FORMATS["csv"](table), table.notes
    sections = [
        *main_sections(rows),
        *_of_seeds(rows, options),
        *_of_layers(rows, options),
        *_of_studies(rows, options),
    ]
    gap = "\n" if options.format == "markdown" else ""  # Markdown wants a line before its tables
    write = FORMATS[options.format]
    return "\n\n".join(section(title, write(table), gap=gap) for title, table in sections), ()


def _of_seeds(rows: Sequence[Row], options: argparse.Namespace) -> list[Section]:
    if options.against is None:
        return []
    return [(differences_title(rows, options.against), differences(rows, options.against))]


def _of_layers(rows: Sequence[Row], options: argparse.Namespace) -> list[Section]:
    sections = [("kept of each layer (%)", layers(rows))] if options.layers else []
    if options.layers or options.structure:
        shown = [row for row in rows if options.structure or has_inactive(row)]
        sections += [(_structure_title(row), structure(row)) for row in shown]
    if options.structure:
        sections.append(("weights ever active (ITOP rate, %)", exploration(rows)))
    if options.storage:
        sections.append(("memory of the stored network, by format", storage(rows)))
    return sections


def _structure_title(row: Row) -> str:
    return f"structure of {row.name} at {100 * row.sparsity:.2f} % (n = {row.count})"


def _of_studies(rows: Sequence[Row], options: argparse.Namespace) -> list[Section]:
    sections: list[Section] = []
    if options.metrics:
        sections.append(("all metrics", all_metrics(rows)))
    for metric, several in (by_metric(rows) or {ACCURACY: []}).items():
        if options.particles:
            sections.append((particles_title(metric), particles(several)))
        if options.knee is not None:
            sections += _knees(metric, several, options.knee)
    if options.studies:
        sections.append(("studies", studies_table(rows)))
    return sections


def _knees(metric: Metric, rows: Sequence[Row], tolerance: float) -> list[Section]:
    side = "below" if metric.direction == "max" else "above"
    lost = f"up to {amount(metric, tolerance)} {side} dense"
    points = "the curves (%), and by how much their slope drops"
    if metric.style != "percent":
        points = "the curves, and by how much the slope of their quality drops"
    return [
        (
            f"essential sparsity (%), {lost}, and knee (%)",
            essential_sparsities(rows, tolerance=tolerance),
        ),
        (points, curve_points(rows)),
    ]


def _only_table(rows: Sequence[Row], options: argparse.Namespace) -> Table:
    """Return what a CSV holds; ValueError if several tables are asked for."""
    tables: dict[str, tuple[bool, Callable[[], Table]]] = {
        "--layers or --structure": (options.layers or options.structure, lambda: layers(rows)),
        "--storage": (options.storage, lambda: storage(rows)),
        "--particles": (options.particles, lambda: particles(_of_one_metric(rows))),
        "--knee": (
            options.knee is not None,
            lambda: essential_sparsities(_of_one_metric(rows), tolerance=options.knee),
        ),
        "--against": (options.against is not None, lambda: differences(rows, options.against)),
        "--studies": (options.studies, lambda: studies_table(rows)),
    }
    asked = {name: table for name, (is_asked, table) in tables.items() if is_asked}
    if len(asked) > 1:
        raise ValueError(f"a CSV holds one table, but {len(asked)} are asked: {', '.join(asked)}")
    return next(iter(asked.values()), lambda: main_table(rows))()


def _of_one_metric(rows: Sequence[Row]) -> Sequence[Row]:
    metrics = [metric.name for metric in by_metric(rows)]
    if len(metrics) > 1:
        raise ValueError(
            f"a column of this CSV holds one metric, but the results have {', '.join(metrics)}: "
            "ask for those of one"
        )
    return rows
