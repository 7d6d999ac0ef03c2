"""Tables that fit the terminal: what matters least is shortened first, then left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sparsekit.report.formats import Table, terminal

GAP = 2
ELLIPSIS = "..."


@dataclasses.dataclass(frozen=True)
class Column:
    """Texts below a title. The higher the `rank`, the sooner it is shortened to `least`
    characters, and then left out; rank 0 stays as it is. `keeps_end`: the front is cut off."""

    title: str
    cells: Sequence[str]
    rank: int = 0
    least: int = 8
    keeps_end: bool = False

    @property
    def width(self) -> int:
        return max([self.title_width, *map(len, self.cells)])

    @property
    def title_width(self) -> int:
        # Titles are broken at spaces, and tabulate keeps two columns free beside them.
        return max(map(len, self.title.split())) + 2


def fitted(columns: Sequence[Column], width: int | None) -> str:
    """Format a table at most `width` characters wide, as far as its columns of rank 0 allow.

    >>> columns = [Column("run", ["0"]), Column("why", ["it was too long"], rank=1)]
    >>> print(fitted(columns, 16))
    run    why
    -----  ---------
    0      it was...
    """
    kept = [column for column in columns if any(column.cells) or not column.rank]
    excess = _excess(kept, width)
    while excess > 0 and any(column.rank for column in kept):
        worst = max(range(len(kept)), key=lambda index: kept[index].rank)
        column = kept[worst]
        least = max(column.least, column.title_width)
        if column.width > least and column.width - excess >= least:
            kept[worst] = _shortened(column, column.width - excess)
        else:
            del kept[worst]
        excess = _excess(kept, width)
    rows = list(zip(*(column.cells for column in kept), strict=True))
    titles = [column.title for column in kept]
    return terminal(Table(titles, rows, columns=titles, values=rows))


def cut(text: str, width: int, *, keeps_end: bool = False) -> str:
    """Cut a text to at most `width` characters.

    >>> cut("0123456789", 6), cut("0123456789", 6, keeps_end=True), cut("0123", 6)
    ('012...', '...789', '0123')
    """
    if len(text) <= width:
        return text
    room = max(0, width - len(ELLIPSIS))
    return ELLIPSIS + text[len(text) - room :] if keeps_end else text[:room] + ELLIPSIS


def _excess(columns: Sequence[Column], width: int | None) -> int:
    total = sum(column.width for column in columns) + GAP * (len(columns) - 1)
    return 0 if width is None else total - width


def _shortened(column: Column, width: int) -> Column:
    cells = [cut(cell, width, keeps_end=column.keeps_end) for cell in column.cells]
    return dataclasses.replace(column, cells=cells)
