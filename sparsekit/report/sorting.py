"""Tables in another order: `--sort COLUMN`."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence

from sparsekit.report.formats import Table
from sparsekit.report.reading import is_number

DESCENDING = ":desc"
MEAN = "_mean"


def in_order(tables: Sequence[Table], column: str | None) -> list[Table]:
    """Sort every table that has a column, named as in a CSV; ValueError if none has it.

    `sparsity:desc` begins with the largest. What is not known comes last.
    """
    if column is None:
        return list(tables)
    name = column.removesuffix(DESCENDING)
    places = [_place(table, name) for table in tables]
    if all(place is None for place in places):
        valid = dict.fromkeys(n.removesuffix(MEAN) for table in tables for n in table.columns)
        near = difflib.get_close_matches(name, valid, n=3) or valid
        raise ValueError(f"--sort {column}: there is no such column; there is {', '.join(near)}")
    return [
        table if place is None else _sorted(table, place, is_descending=name != column)
        for table, place in zip(tables, places, strict=True)
    ]


def _place(table: Table, name: str) -> int | None:
    """Return the number of a column; None too for a table whose lines are not those of its CSV."""
    if len(table.cells) != len(table.values):
        return None
    found = [i for i, column in enumerate(table.columns) if column in (name, name + MEAN)]
    return found[0] if found else None


def _sorted(table: Table, place: int, *, is_descending: bool) -> Table:
    known = [i for i, line in enumerate(table.values) if _is_known(line[place])]
    unknown = [i for i in range(len(table.values)) if i not in known]

    def size(line: int) -> tuple[float, str]:
        value = table.values[line][place]
        return (value, "") if is_number(value) else (0.0, str(value).lower())

    order = [*sorted(known, key=size, reverse=is_descending), *unknown]
    where = {old: new for new, old in enumerate(order)}
    return dataclasses.replace(
        table,
        cells=[table.cells[i] for i in order],
        values=[table.values[i] for i in order],
        bold={(where[row], column) for row, column in table.bold},
    )


def _is_known(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))
