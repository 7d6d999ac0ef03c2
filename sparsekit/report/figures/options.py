"""The part of the command that draws figures."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sparsekit.report.figures.catalogue import (
    FIGURES,
    FILE_TYPES,
    draw_figures,
    figure_names,
    file_types,
)
from sparsekit.report.rows import Row

STUDIES = ("barriers", "calibration")
"""That figures are drawn of."""

Read = TypeVar("Read")


def add_options_(parser: argparse.ArgumentParser) -> None:
    """Add what asks for figures."""
    group = parser.add_argument_group("figures for papers")
    group.add_argument("--figures", type=Path, metavar="FOLDER", help="write figures in here")
    group.add_argument(
        "--figure",
        type=_told(figure_names),
        metavar="NAMES",
        help=f"which, with commas between: {', '.join(FIGURES)}; all that the results know unless "
        "given",
    )
    group.add_argument(
        "--file-types",
        type=_told(file_types),
        default=FILE_TYPES,
        metavar="TYPES",
        help=f"as what, with commas between: {', '.join(FILE_TYPES)}; all of them unless given",
    )
    group.add_argument(
        "--at",
        type=_told(_sparsity),
        metavar="SPARSITY",
        help="from 0 to 1: where layer_density, mask_overlap, fan_in, learning_curves and "
        "reliability compare methods; unless given, the highest sparsity that most methods have",
    )


def figure_lines(rows: Sequence[Row], options: argparse.Namespace) -> list[str]:
    """Draw what is asked for; return a line for each file, and for each figure that is not there.

    ValueError for options that would be ignored.
    """
    if options.figures is None:
        if options.figure is not None or options.at is not None:
            raise ValueError("--figure and --at need --figures FOLDER")
        return []
    folder = Path(os.path.realpath(options.figures))
    written, missing = draw_figures(
        rows, folder, options.figure, options.file_types, sparsity=options.at
    )
    return [*(f"figure: {path}" for path in written), *missing]


def _told(read: Callable[[str], Read]) -> Callable[[str], Read]:
    """Let a mistake be told by the parser, in the words of the function that reads the option."""

    def reading(text: str) -> Read:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return reading


def _sparsity(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise ValueError(f"{text} is not a sparsity between 0 and 1; 0.9 stands for 90 %")
    return value
