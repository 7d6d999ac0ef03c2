"""The best of each sparsity in bold, as far as the seeds are evidence of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from sparsekit.evaluation.significance import LEVEL, holm
from sparsekit.report.differences import paired_rows
from sparsekit.report.formats import Table
from sparsekit.report.rows import Row

NOTE = (
    "bold: the best mean at a sparsity, and all others of which there is no evidence that they are "
    "worse (paired t test over the seeds they share, corrected for their number); none where there "
    "is no evidence of any difference"
)


def emphasised(table: Table, rows: Sequence[Row], column: int) -> Table:
    """Set in bold the cells in `column` of the rows that are best at their sparsity."""
    groups: dict[float, list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(round(row.sparsity, 6), []).append(number)
    bold = {(number, column) for numbers in groups.values() for number in best(rows, numbers)}
    notes = [*table.notes, NOTE] if bold else table.notes
    return dataclasses.replace(table, bold=bold, notes=notes)


def best(rows: Sequence[Row], numbers: Sequence[int]) -> list[int]:
    """Return which of these rows are best; none if nothing tells any two of them apart."""
    first = max(numbers, key=lambda number: rows[number].quality)
    others = [number for number in numbers if number != first]
    found = [paired_rows(rows[first], rows[number]) for number in others]
    corrected = holm([math.nan if one is None else one.p_t for one in found])
    worse = [
        number
        for number, one, p in zip(others, found, corrected, strict=True)
        if one is not None and one.is_evidence and not p > 1 - LEVEL
    ]
    return [number for number in numbers if number not in worse] if worse else []
