"""`python -m sparsekit.report PATHS...`: tables and a plot of finished results."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from sparsekit.report.collect import last_of, read_records, results_of, unfinished
from sparsekit.report.essential import curve_points, essential_sparsities
from sparsekit.report.formats import FORMATS, Table
from sparsekit.report.particles import STUDIES, particles
from sparsekit.report.plots import accuracy_plot
from sparsekit.report.rows import Row, rows_of
from sparsekit.report.structure import exploration, has_inactive, layers, structure
from sparsekit.report.tables import main_table
from sparsekit.store.store import CorruptResult

DESCRIPTION = "Mean +- standard deviation over seeds, per method and sparsity."
EPILOG = """\
With --format csv one table is written, unrounded: of the layers, of the particles or of the knees
if asked for, else the main one. Every line that is no table then goes to the error stream.
"""
TOLERANCE = 0.01

Section = tuple[str, Table]
"""A title and a table."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        records = read_records(options.paths)
        shown = last_of(records) if options.last else records
        results = results_of(shown, studies=STUDIES if options.particles else ())
        text, notes = _written(rows_of(results), options)
    except (FileNotFoundError, CorruptResult, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text.rstrip("\n"))
    for line in (*notes, *unfinished(records)):
        print(line, file=sys.stderr if options.format == "csv" else sys.stdout)
    if options.plot:
        accuracy_plot(results, options.plot)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sparsekit.report", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("paths", nargs="+", type=Path, help="stores, folders in named/, records")
    parser.add_argument("--format", choices=sorted(FORMATS), default="terminal")
    parser.add_argument(
        "--last", action="store_true", help="only the last cycle of every run: methods side by side"
    )
    parser.add_argument(
        "--layers",
        action="store_true",
        help="what each layer keeps, as well; and its structure, where neurons are inactive",
    )
    parser.add_argument(
        "--structure",
        action="store_true",
        help="active neurons and fan-in of each layer, and the fraction ever active (ITOP)",
    )
    parser.add_argument(
        "--particles",
        action="store_true",
        help="merged weights against their particles and the ensemble; distances, angles, barriers",
    )
    parser.add_argument(
        "--knee",
        nargs="?",
        type=_tolerance,
        const=TOLERANCE,
        metavar="TOLERANCE",
        help="the sparsity up to which a method loses at most this much accuracy (absolute, "
        "%(const)s unless given) to the dense network, and where its curve bends most",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        help="write accuracy against sparsity here; methods in order, if each has one sparsity",
    )
    return parser


def _tolerance(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        message = f"{text!r} is no number; paths go before --knee"
        raise argparse.ArgumentTypeError(message) from error


def _written(rows: Sequence[Row], options: argparse.Namespace) -> tuple[str, Sequence[str]]:
    """The text of all that is asked for, and for CSV the notes, which are no part of it."""
    if options.format == "csv":
        table = _only_table(rows, options)
        return FORMATS["csv"](table), table.notes
    sections = [*_of_layers(rows, options), *_of_studies(rows, options)]
    gap = "\n" if options.format == "markdown" else ""  # Markdown wants a line before its tables
    write = FORMATS[options.format]
    texts = [write(main_table(rows)), *(f"{title}\n{gap}{write(t)}" for title, t in sections)]
    return "\n\n".join(texts), ()


def _of_layers(rows: Sequence[Row], options: argparse.Namespace) -> list[Section]:
    sections = [("kept of each layer (%)", layers(rows))] if options.layers else []
    if options.layers or options.structure:
        shown = [row for row in rows if options.structure or has_inactive(row)]
        sections += [(_structure_title(row), structure(row)) for row in shown]
    if options.structure:
        sections.append(("weights ever active (ITOP rate, %)", exploration(rows)))
    return sections


def _structure_title(row: Row) -> str:
    return f"structure of {row.label} at {100 * row.sparsity:.2f} % (n = {row.count})"


def _of_studies(rows: Sequence[Row], options: argparse.Namespace) -> list[Section]:
    sections = []
    if options.particles:
        sections.append(("particles (test accuracy and barriers in %)", particles(rows)))
    if options.knee is not None:
        title = f"essential sparsity (%), up to {100 * options.knee:g} % below dense, and knee (%)"
        sections.append((title, essential_sparsities(rows, tolerance=options.knee)))
        sections.append(("the curves (%), and by how much their slope drops", curve_points(rows)))
    return sections


def _only_table(rows: Sequence[Row], options: argparse.Namespace) -> Table:
    """What a CSV holds; ValueError if several tables are asked for."""
    asked = {
        "--layers or --structure": options.layers or options.structure,
        "--particles": options.particles,
        "--knee": options.knee is not None,
    }
    names = [name for name, is_asked in asked.items() if is_asked]
    if len(names) > 1:
        raise ValueError(f"a CSV holds one table, but {len(names)} are asked: {', '.join(names)}")
    if options.particles:
        return particles(rows)
    if options.knee is not None:
        return essential_sparsities(rows, tolerance=options.knee)
    return layers(rows) if names else main_table(rows)


if __name__ == "__main__":
    # Whoever reads may stop reading, as `head` does; then this ends like any other command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
