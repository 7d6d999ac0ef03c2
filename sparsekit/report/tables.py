"""The main table: mean and standard deviation over seeds, per method and sparsity."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from sparsekit.report import formats
from sparsekit.report.collect import Record, Result
from sparsekit.report.emphasis import emphasised
from sparsekit.report.formats import Table
from sparsekit.report.notes import all_notes, caption
from sparsekit.report.reading import header, measured_names, number, written
from sparsekit.report.rows import Row, by_metric, rows_of
from sparsekit.report.spread import Spread, mean_and_std
from sparsekit.tasks.metric import ACCURACY

Section = tuple[str, Table]
"""A title and a table."""

SIZES = (
    "sparsity_prunable", "sparsity_all", "num_parameters_kept", "flops", "average_num_parameters",
    "average_num_kept", "itop", "itop_sparse",
)  # fmt: skip
COSTS = ("seconds", "total_seconds", "training_flops", "training_flops_relative")
TEACHER = "teacher_flops"
WHERE_KNOWN = {"training_flops_relative": "training FLOPs (x dense)", TEACHER: "teacher FLOPs"}
"""Columns that a table for people has where any of its results knows them."""
UNITS = {3600: "hours", 60: "minutes", 1: "seconds"}
MEASURED = 2
"""Number of the column of the primary metric."""


def main_table(rows: Sequence[Row]) -> Table:
    """Make one row per method and sparsity; notes say what casts doubt on a row.

    For people, rows must have one primary metric: `main_sections` sees to it. For machines, there
    are columns for the primary metrics of all rows, then for every other metric of a split.
    `average parameters` are those that were there on average over the steps of training: what a
    dense start costs. Tickets of older stores do not know it. The time is that of all fits of the
    procedure. `training FLOPs`, a column only where any fits tell them, are those of the whole
    procedure, in dense trainings. `teacher FLOPs`, one only where fits learned from a teacher, are
    those of all its forward passes.
    """
    names = _columns(rows)
    unit = _unit(rows)
    columns = [f"{name}_{kind}" for name in names for kind in ("mean", "std")]
    return Table(
        headers=_headers(rows, UNITS[unit]),
        cells=[_cells(row, unit, _where_known(rows)) for row in rows],
        columns=["method", "sparsity", "n", *columns, "metric"],
        values=[_values(row, names) for row in rows],
        notes=all_notes(rows),
        caption=caption(rows),
    )


def main_sections(rows: Sequence[Row], *, bold: bool = False) -> list[Section]:
    """Make the main table, or one for each primary metric under its name if there are several.

    `bold` emphasises the best of each sparsity (`report/emphasis.py`).
    """
    groups = by_metric(rows) or {ACCURACY: list(rows)}
    titles = [header(metric, "test") for metric in groups] if len(groups) > 1 else [""]
    tables = [main_table(several) for several in groups.values()]
    if bold:
        tables = [
            emphasised(table, several, MEASURED)
            for table, several in zip(tables, groups.values(), strict=True)
        ]
    return list(zip(titles, tables, strict=True))


def all_metrics(rows: Sequence[Row]) -> Table:
    """Tabulate every metric measured on a split, the primary one first; not rounded in a CSV."""
    names = _measured(rows)
    cells = [[_number(row, name) for name in names] for row in rows]
    heads = [[row.name, f"{100 * row.sparsity:.2f}", row.count_text] for row in rows]
    lines = [[*head, *line] for head, line in zip(heads, cells, strict=True)]
    columns = ["method", "sparsity", "n", *names]
    return Table(columns, lines, columns, lines, caption=caption(rows))


def terminal(results: Sequence[Result], unfinished: Iterable[Record] = ()) -> str:
    """Format the main table for a terminal; mean +- standard deviation over n seeds."""
    return _written(results, unfinished, formats.terminal)


def markdown(results: Sequence[Result], unfinished: Iterable[Record] = ()) -> str:
    """Format the main table in Markdown."""
    return _written(results, unfinished, formats.markdown)


def comma_separated(results: Sequence[Result]) -> str:
    """Format the same numbers for machines, not rounded: mean, deviation and count in columns."""
    return formats.comma_separated(main_table(rows_of(results)))


def _written(
    results: Sequence[Result], unfinished: Iterable[Record], write: Callable[[Table], str]
) -> str:
    sections = main_sections(rows_of(results, unfinished))
    return "\n\n".join(formats.section(title, write(table)) for title, table in sections)


def _unit(rows: Sequence[Row]) -> int:
    """Return the seconds of the largest unit of time that half of the rows fill."""
    times = [spread.mean for row in rows if (spread := row.known("total_seconds"))]
    typical = statistics.median(times) if times else 0
    return next((unit for unit in UNITS if unit <= typical), 1)


def _headers(rows: Sequence[Row], unit: str) -> list[str]:
    metric = rows[0].metric if rows else None
    test = header(metric, "test") if metric else "test"
    validation = header(metric, "val") if metric else "validation"
    return [
        "method", "sparsity", test, "n", "parameters", "average parameters", "FLOPs",
        "sparsity (prunable)", "sparsity (all)", f"{unit} in all",
        *(WHERE_KNOWN[name] for name in _where_known(rows)), validation,
    ]  # fmt: skip


def _cells(row: Row, unit: int, costs: Sequence[str]) -> list[str]:
    return [
        row.name,
        f"{100 * row.sparsity:.2f}",
        written(row.metric, row.primary()),
        row.count_text,
        _mean(row.known("num_parameters_kept"), ",.0f"),
        _mean(row.known("average_num_parameters"), ",.0f"),
        _mean(row.known("flops"), ",.0f"),
        _mean(row.known("sparsity_prunable"), ".3f", scale=100),
        _mean(row.known("sparsity_all"), ".3f", scale=100),
        _mean(row.known("total_seconds"), ".3g", scale=1 / unit),
        *(_mean(row.known(name), ".3g") for name in costs),
        written(row.metric, row.known(f"val_{row.metric.name}")),
    ]


def _mean(spread: Spread | None, form: str, *, scale: float = 1.0) -> str:
    return "" if spread is None else f"{scale * spread.mean:{form}}"


def _number(row: Row, name: str) -> str:
    spread = row.known(name)
    if spread is None:
        return ""
    is_primary = name.partition("_")[2] == row.metric.name
    return written(row.metric, spread) if is_primary else number(spread)


def _columns(rows: Sequence[Row]) -> list[str]:
    """Return the metrics of the CSV: the primary ones, sizes, cost, then what else was measured."""
    primary = [f"{split}_{m.name}" for m in by_metric(rows) for split in ("test", "val")]
    costs = dict.fromkeys((*COSTS, *_where_known(rows)))
    names = [*primary, "test_loss", *SIZES, *costs, *_measured(rows)]
    return list(dict.fromkeys(names))


def _where_known(rows: Sequence[Row]) -> list[str]:
    """Return those columns of `WHERE_KNOWN` that any result knows."""
    known = {name for row in rows for result in row.results for name in result.metrics}
    return [name for name in WHERE_KNOWN if name in known]


def _measured(rows: Sequence[Row]) -> list[str]:
    primary = [f"{split}_{m.name}" for m in by_metric(rows) for split in ("test", "val", "train")]
    found = measured_names(result.metrics for row in rows for result in row.results)
    return [*(name for name in primary if name in found), *(n for n in found if n not in primary)]


def _values(row: Row, names: Sequence[str]) -> list[object]:
    spreads = [row.seconds if name == "seconds" else row.known(name) for name in names]
    return [row.name, row.sparsity, row.count, *mean_and_std(spreads), row.metric.name]
