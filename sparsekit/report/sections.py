"""What a report consists of: the main table, and the sections that were asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from sparsekit.report.claims import Claim, answers
from sparsekit.report.commands import command_lines, provenance_lines
from sparsekit.report.differences import differences
from sparsekit.report.differences import title as differences_title
from sparsekit.report.epochs import epochs
from sparsekit.report.epochs import title as epochs_title
from sparsekit.report.essential import curve_points, essential_sparsities
from sparsekit.report.formats import FORMATS, Table, section
from sparsekit.report.latex import latex
from sparsekit.report.latex import section as latex_section
from sparsekit.report.particles import particles
from sparsekit.report.particles import title as particles_title
from sparsekit.report.reading import amount
from sparsekit.report.rows import Row, by_metric
from sparsekit.report.seeds import seeds_table
from sparsekit.report.sorting import in_order
from sparsekit.report.storage import storage
from sparsekit.report.structure import exploration, has_inactive, layers, structure
from sparsekit.report.studied import studies_table
from sparsekit.report.tables import Section, all_metrics, main_sections, main_table
from sparsekit.report.verdicts import claims_table, claims_title
from sparsekit.tasks.metric import ACCURACY, Metric

WRITERS: dict[str, Callable[[Table], str]] = {**FORMATS, "latex": latex}
BOLD = ("markdown", "latex")
"""Formats with bold type."""


def written(
    rows: Sequence[Row], options: argparse.Namespace, claims: Sequence[Claim] = ()
) -> tuple[str, Sequence[str]]:
    """Return the text of all that is asked for, and for CSV the notes, which are not part of it.

    `claims` are those of the experiments, with or without results.
    """
    if options.bold and options.format not in BOLD:
        raise ValueError(f"--bold needs --format {' or '.join(BOLD)}: {options.format} has none")
    if options.format == "csv":
        (table,) = in_order([_only_table(rows, options, claims)], options.sort)
        return FORMATS["csv"](table), [*table.notes, *_below(rows, options)]
    sections = [
        *main_sections(rows, bold=options.bold),
        *_of_claims(rows, options, claims),
        *_of_seeds(rows, options),
        *_of_layers(rows, options),
        *_of_studies(rows, options),
    ]
    titles, tables = zip(*sections, strict=True)
    told = zip(titles, map(WRITERS[options.format], in_order(tables, options.sort)), strict=True)
    text = "\n\n".join(_section(title, table, options.format) for title, table in told)
    below = _below(rows, options)
    if options.format == "markdown" and below:
        below = ["```", *below, "```"]
    if options.format == "latex":
        below = [f"% {line}" for line in below]
    return "\n\n".join(filter(None, [text, "\n".join(below)])), ()


def _section(title: str, text: str, form: str) -> str:
    if form == "latex":
        return latex_section(title, text)
    return section(title, text, gap="\n" if form == "markdown" else "")  # for its tables


def _below(rows: Sequence[Row], options: argparse.Namespace) -> list[str]:
    commands = command_lines(rows) if options.commands else []
    return [*commands, *(provenance_lines(rows) if options.provenance else [])]


def _of_claims(
    rows: Sequence[Row], options: argparse.Namespace, claims: Sequence[Claim]
) -> list[Section]:
    if not options.claims:
        return []
    found = answers(claims, rows)
    return [(claims_title(found), claims_table(found))]


def _of_seeds(rows: Sequence[Row], options: argparse.Namespace) -> list[Section]:
    sections = []
    for metric, several in by_metric(rows).items():
        if options.seeds:
            sections.append(("every seed", seeds_table(several)))
        if options.epochs:
            sections.append((epochs_title(metric), epochs(several)))
    if options.against is not None:
        sections.append(
            (differences_title(rows, options.against), differences(rows, options.against))
        )
    return sections


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


def _only_table(rows: Sequence[Row], options: argparse.Namespace, claims: Sequence[Claim]) -> Table:
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
        "--claims": (options.claims, lambda: claims_table(answers(claims, rows))),
        "--seeds": (options.seeds, lambda: seeds_table(rows)),
        "--epochs": (options.epochs, lambda: epochs(rows)),
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
