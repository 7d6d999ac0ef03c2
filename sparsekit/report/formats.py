"""Tables as text for a terminal, as Markdown, and as CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import textwrap
from collections.abc import Callable, Collection, Sequence

from tabulate import tabulate

from sparsekit.system.printing import printable


@dataclasses.dataclass(frozen=True)
class Table:
    """One table twice: rounded texts for people, unrounded values for machines.

    `caption` says what its numbers are, and `notes` what else there is to say of them: lines that
    belong below it and are not part of the CSV, whose columns say what they are. `bold` are cells,
    by row and column, that Markdown and LaTeX emphasise.
    """

    headers: Sequence[str]
    cells: Sequence[Sequence[str]]
    columns: Sequence[str]
    values: Sequence[Sequence[object]]
    notes: Sequence[str] = ()
    caption: str = ""
    bold: Collection[tuple[int, int]] = ()

    @property
    def lines_below(self) -> list[str]:
        return [*filter(None, [self.caption]), *self.notes]


def terminal(table: Table) -> str:
    """Align columns, break headers to the width of their columns, and append the notes.

    >>> print(terminal(Table(["a", "two words"], [["1", "0.25"]], ["a"], [[1]], ["c is missing"])))
    a    two
         words
    ---  -------
    1    0.25
    c is missing
    """
    columns = zip(table.headers, *table.cells, strict=True)
    headers = [_broken(header, below) for header, *below in columns]
    text = tabulate(table.cells, headers=headers, disable_numparse=True)
    return printable("\n".join([text, *table.lines_below]))


def markdown(table: Table) -> str:
    """Format a table in Markdown; the notes are a list, so that they do not become rows."""
    cells = [
        [f"**{text}**" if (row, column) in table.bold else text for column, text in enumerate(line)]
        for row, line in enumerate(table.cells)
    ]
    text = tabulate(cells, headers=table.headers, tablefmt="github", disable_numparse=True)
    notes = [f"* {note}" for note in table.lines_below]
    return "\n".join([text, "", *notes]) if notes else text


def comma_separated(table: Table) -> str:
    """Format the values as CSV, not rounded; what is not known is empty.

    >>> comma_separated(Table(["a"], [["0.33"]], ["a", "b"], [[1 / 3, None]]))
    'a,b\\n0.3333333333333333,\\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.values)
    return text.getvalue()


def section(title: str, text: str, *, gap: str = "") -> str:
    """Put a table below its title, if it has one."""
    return f"{title}\n{gap}{text}" if title else text


def _broken(header: str, below: Sequence[str]) -> str:
    width = max(map(len, [*header.split(), *below]), default=1)
    return textwrap.fill(header, width, break_long_words=False, break_on_hyphens=False)


FORMATS: dict[str, Callable[[Table], str]] = {
    "terminal": terminal,
    "markdown": markdown,
    "csv": comma_separated,
}
