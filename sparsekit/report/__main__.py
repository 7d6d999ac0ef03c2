"""`python -m sparsekit.report PATHS...`: tables and a plot of finished results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sparsekit.execution.store import CorruptResult
from sparsekit.report.collect import collect, unfinished
from sparsekit.report.plots import accuracy_plot
from sparsekit.report.tables import FORMATS, layers


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sparsekit.report",
        description="Mean +- standard deviation over seeds, per method and sparsity.",
    )
    parser.add_argument("paths", nargs="+", type=Path, help="stores, folders in named/, records")
    parser.add_argument("--format", choices=sorted(FORMATS), default="terminal")
    parser.add_argument("--layers", action="store_true", help="what each layer keeps, as well")
    parser.add_argument("--plot", type=Path, help="write accuracy against sparsity here")
    options = parser.parse_args(arguments)
    try:
        results = collect(options.paths)
        open_ends = unfinished(options.paths)
    except (FileNotFoundError, CorruptResult, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(FORMATS[options.format](results).rstrip("\n"))
    if options.layers:
        print(f"\nkept of each layer (%)\n{layers(results)}")
    for line in open_ends:
        print(line, file=sys.stderr if options.format == "csv" else sys.stdout)
    if options.plot:
        accuracy_plot(results, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
