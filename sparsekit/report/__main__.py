"""`python -m sparsekit.report PATHS...`: tables and a plot of finished results."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from sparsekit.report.claims import claims_of
from sparsekit.report.collect import in_one_line, last_of, read_records, results_of, unfinished
from sparsekit.report.figures import options as of_figures
from sparsekit.report.filters import Condition, conditions, filtered
from sparsekit.report.options import add_selection
from sparsekit.report.page.write import write_page
from sparsekit.report.particles import STUDIES
from sparsekit.report.plots import plot_results
from sparsekit.report.rows import rows_of
from sparsekit.report.sections import WRITERS, written
from sparsekit.report.tuning import best_of
from sparsekit.store.store import CorruptResult
from sparsekit.system.files import Damaged
from sparsekit.system.leaving import leave_after
from sparsekit.system.printing import damage_lines, remark, say
from sparsekit.system.refusals import refusal_in
from sparsekit.system.streams import printed

DESCRIPTION = "Mean +- sample standard deviation over n seeds, per method and sparsity."
EPILOG = """\
With --format csv one table is written, unrounded: of the layers, the storage, the particles, the
knees, the differences, the claims, the seeds, the epochs or the studies if asked for, else the main
one, with every metric. Every line that is no table then goes to the error stream.
"""
TOLERANCE = 0.01


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        damaged: list[str] = []
        records = filtered(read_records(options.paths, note=damaged.append), _conditions(options))
        shown = last_of(records) if options.last else records
        results = results_of(shown, studies=_studies(options), note=damaged.append)
        if options.best_of and options.html:
            raise ValueError("a page holds all runs: --best-of does not go with --html")
        if options.best_of:
            results = best_of(results, options.best_of, records)
        if damaged and not results:
            raise Damaged(in_one_line(damaged))
        rows = rows_of(results, records)
        text, notes = written(rows, options, claims_of(records))
        drawn = of_figures.figure_lines(rows, options)
        if options.html:
            write_page(Path(os.path.realpath(options.html)), shown, damaged=damaged)
        if options.plot:
            plot_results(results, Path(os.path.realpath(options.plot)))
    except (OSError, CorruptResult, ValueError) as error:
        remark(f"error: {refusal_in(error) or error}")
        return 2
    say(text.rstrip("\n"))
    beside = remark if options.format in ("csv", "latex") else say
    for line in (*notes, *drawn, *unfinished(records), *damage_lines(damaged)):
        beside(line)
    return 0


def _conditions(options: argparse.Namespace) -> list[Condition]:
    experiment = [f"experiment={','.join(options.experiment)}"] if options.experiment else []
    return conditions([*options.where, *experiment])


def _studies(options: argparse.Namespace) -> Collection[str] | None:
    """Return the studies to read: those of particles and figures, all (None), or none."""
    if options.studies:
        return None
    asked = (STUDIES if options.particles else ()), (of_figures.STUDIES if options.figures else ())
    return {name for names in asked for name in names}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sparsekit.report", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("paths", nargs="+", type=Path, help="stores, folders in named/, records")
    parser.add_argument("--format", choices=sorted(WRITERS), default="terminal")
    add_selection(parser)
    parser.add_argument(
        "--last", action="store_true", help="only the last cycle of every run: methods side by side"
    )
    _add_tables_(parser)
    parser.add_argument(
        "--plot",
        type=Path,
        help="write the figure of the primary metric against sparsity here; methods in order, if "
        "each has one sparsity",
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write a page that needs no network",
    )
    of_figures.add_options_(parser)
    return parser


def _add_tables_(parser: argparse.ArgumentParser) -> None:
    """Add the options that ask for tables beside the main one."""
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
        "--storage",
        action="store_true",
        help="memory of the stored network: dense, CSR, condensed rows, bitmap",
    )
    parser.add_argument(
        "--particles",
        action="store_true",
        help="merged weights against their particles and the ensemble; distances, angles, barriers",
    )
    parser.add_argument(
        "--studies",
        action="store_true",
        help="every number of every study: what stands in lists as mean, least and most",
    )
    parser.add_argument(
        "--metrics", action="store_true", help="every metric that was measured, as well"
    )
    parser.add_argument(
        "--against",
        metavar="METHOD",
        help="the differences of all others to this method, seed by seed, with their interval",
    )
    parser.add_argument(
        "--knee",
        nargs="?",
        type=_tolerance,
        const=TOLERANCE,
        metavar="TOLERANCE",
        help="the sparsity up to which a method loses at most this much to the dense network, and "
        "where its curve bends most; absolute, in the primary metric, shares of 1 for percent "
        "(%(const)s unless given)",
    )


def _tolerance(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        message = f"{text!r} is not a number; paths go before --knee"
        raise argparse.ArgumentTypeError(message) from error


if __name__ == "__main__":
    leave_after(functools.partial(printed, main))
