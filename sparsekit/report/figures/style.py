"""How figures look: the width of a column, type that can be read there, curves told apart.

Nothing is said by colour alone: curves differ in markers and dashes as well. The colours are those
of Okabe and Ito ("Color Universal Design", 2008) less their yellow, which is faint on white.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

COLUMN = 3.4
"""Inches: a column of a paper in two, or half the width of one in one."""
HEIGHT = 2.5
SMALL = 7.0
"""Points: the smallest type of any figure."""
CHARACTERS = 62
"""Of that type, in a column."""
GREY = "#555555"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
MARKERS = "osD^vPX*<>p"

SETTINGS: Mapping[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.titlesize": 8.0,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # as text that can be searched and edited, as journals ask for
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "sparsekit",
}


@dataclasses.dataclass(frozen=True)
class Look:
    """How one curve is drawn."""

    colour: str
    dashes: Any
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        return {"color": self.colour, "linestyle": self.dashes, "marker": self.marker}

    @property
    def point(self) -> dict[str, Any]:
        return {"color": self.colour, "linestyle": "none", "marker": self.marker}


def look(number: int) -> Look:
    """Style the curve of this number; no two of the first 28 share both colour and dashes, and
    neighbours share nothing."""
    return Look(
        COLOURS[number % len(COLOURS)],
        DASHES[number % len(DASHES)],
        MARKERS[number % len(MARKERS)],
    )


DENSE = Look(GREY, (0, (6, 3)), "h")
"""Of the dense network that others are compared with, in every figure."""


def looks_of(labels: Iterable[str]) -> dict[str, Look]:
    """Give each label a look of its own, by order of appearance: the same in all figures."""
    return {label: look(number) for number, label in enumerate(dict.fromkeys(labels))}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw and write the figures of this block in the style of all of them."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not what somebody's matplotlibrc says
        matplotlib.rcParams.update(SETTINGS)
        yield


def new_figure(*, height: float = HEIGHT, rows: int = 1, **settings: Any) -> tuple[Any, Any]:
    """Return a figure as wide as a column, and its axes, below each other."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(COLUMN, height), layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02)
    )
    return figure, figure.subplots(rows, 1, **settings)
