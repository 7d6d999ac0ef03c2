"""How long one batch takes in several ways, and the least that the hardware allows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsekit.report.figures.catalogue import write_figure
from sparsekit.report.figures.style import COLOURS, GREY, SMALL, new_figure, styled

PER_BAR, PER_PANEL = 0.17, 0.42
"""Inches."""
ROOM = 1.3
"""The axis goes on so far past the longest bar: what it says stands there."""


@dataclasses.dataclass(frozen=True)
class Bar:
    """Milliseconds of one way at one batch size: median, quartiles, and the hardware's limit."""

    batch_size: int
    way: str
    median: float
    lower: float
    upper: float
    limit: float


def draw_latency(path: Path, bars: Sequence[Bar], emphasised: str) -> None:
    """Write the figure of some bars to a file, the way `emphasised` in another colour."""
    with styled():
        write_figure(latency(bars, emphasised), path)


def latency(bars: Sequence[Bar], emphasised: str) -> Any:
    """Draw one panel for each batch size, in it one bar for each way, the fastest on top."""
    sizes = list(dict.fromkeys(bar.batch_size for bar in bars))
    height = 0.35 + len(sizes) * PER_PANEL + len(bars) * PER_BAR
    shares = [PER_PANEL + PER_BAR * _count(bars, size) for size in sizes]
    figure, axes = new_figure(
        height=height, rows=len(sizes), squeeze=False, gridspec_kw={"height_ratios": shares}
    )
    for panel, size in zip(axes[:, 0], sizes, strict=True):
        _draw_panel_(panel, [bar for bar in bars if bar.batch_size == size], emphasised)
        panel.set_title(f"batch {size}", loc="left")
    axes[-1, 0].set_xlabel("ms per batch; line across: hardware limit")
    return figure


def _draw_panel_(axes: Any, bars: Sequence[Bar], emphasised: str) -> None:
    ordered = sorted(bars, key=lambda bar: bar.median, reverse=True)
    for place, bar in enumerate(ordered):
        colour = COLOURS[0] if bar.way == emphasised else GREY
        axes.barh(place, bar.median, height=0.65, color=colour)
        axes.plot([bar.lower, bar.upper], [place, place], color="black", linewidth=0.8)
        axes.vlines(bar.limit, place - 0.42, place + 0.42, color=COLOURS[1], linewidth=1.2)
        past = max(bar.median, bar.upper, bar.limit)
        axes.annotate(
            f"{bar.median:.3g}", (past, place), (3, 0), textcoords="offset points",
            va="center", fontsize=SMALL,
        )  # fmt: skip
    axes.set_yticks(range(len(ordered)), [bar.way for bar in ordered])
    axes.set_xlim(0, ROOM * max(max(bar.upper, bar.limit) for bar in bars))
    axes.grid(visible=False, axis="y")


def _count(bars: Sequence[Bar], size: int) -> int:
    return sum(bar.batch_size == size for bar in bars)
