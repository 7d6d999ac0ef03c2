"""Options of a report that say which results are shown, in which order, and how they came about."""

from __future__ import annotations

import argparse


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add these options to the parser of a command."""
    parser.add_argument(
        "--where",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="only results for which this holds; KEY is method, label, experiment, seed, sparsity, "
        "cycle, status, a group such as model, or a setting such as train.epochs; with <, <=, >, "
        ">= and != as well, and several values with commas. May be given several times",
    )
    parser.add_argument(
        "--experiment",
        metavar="NAME",
        action="append",
        default=[],
        help="short for --where experiment=NAME",
    )
    parser.add_argument(
        "--best-of",
        metavar="KEY",
        help="of each method and sparsity only the value of this setting with the best mean on "
        "validation; says how many were tried",
    )
    parser.add_argument(
        "--sort",
        metavar="COLUMN",
        help="order of the lines, by a column of the CSV; COLUMN:desc begins with the largest",
    )
    parser.add_argument(
        "--bold",
        action="store_true",
        help="the best of each sparsity in bold, in Markdown and LaTeX, where seeds are evidence",
    )
    parser.add_argument(
        "--claims",
        action="store_true",
        help="what the experiments claim, each claim with its verdict and how it comes about",
    )
    parser.add_argument("--seeds", action="store_true", help="every seed in a line of its own")
    parser.add_argument(
        "--epochs",
        action="store_true",
        help="validation at the last and at the best epoch of the fits, told apart",
    )
    parser.add_argument(
        "--commands",
        action="store_true",
        help="for each number the command that makes it again, and the key where it is stored",
    )
    parser.add_argument(
        "--provenance",
        action="store_true",
        help="for each number when, how, with which code and versions, and where it was made",
    )
