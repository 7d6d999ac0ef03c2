"""The main table: mean and standard deviation over seeds, per method and sparsity."""

from __future__ import annotations

from collections.abc import Sequence

from sparsekit.report import formats
from sparsekit.report.collect import Result
from sparsekit.report.formats import Table
from sparsekit.report.rows import Row, Spread, mean_and_std, rows_of

HEADERS = (
    "method", "sparsity", "test accuracy", "n", "parameters", "average parameters", "FLOPs",
    "sparsity (prunable)", "sparsity (all)", "seconds per fit", "validation",
)  # fmt: skip
METRICS = (
    "test_accuracy", "val_accuracy", "test_loss", "sparsity_prunable", "sparsity_all",
    "num_parameters_kept", "flops",
)  # fmt: skip
METRICS_SINCE = ("average_num_parameters", "average_num_kept", "itop", "itop_sparse")


def main_table(rows: Sequence[Row]) -> Table:
    """One row per method and sparsity; layers that keep nothing are named below it.

    `average parameters` are those that were there on average over the steps of training: what a
    dense start costs. Tickets of older stores do not know it.
    """
    names = (*METRICS, *METRICS_SINCE, "seconds")
    columns = [f"{name}_{kind}" for name in names for kind in ("mean", "std")]
    return Table(
        headers=HEADERS,
        cells=[_cells(row) for row in rows],
        columns=["method", "sparsity", "n", *columns],
        values=[_values(row) for row in rows],
        notes=[note for row in rows for note in collapses(row)],
    )


def terminal(results: Sequence[Result]) -> str:
    """A table for a terminal; percentages, mean +- standard deviation over n seeds."""
    return formats.terminal(main_table(rows_of(results)))


def markdown(results: Sequence[Result]) -> str:
    """The same table in Markdown."""
    return formats.markdown(main_table(rows_of(results)))


def comma_separated(results: Sequence[Result]) -> str:
    """The same numbers for machines, unrounded: mean, deviation and count in columns."""
    return formats.comma_separated(main_table(rows_of(results)))


def collapses(row: Row) -> list[str]:
    """A line for each group of layers that keep nothing in the same seeds of a row."""
    seeds: dict[str, list[str]] = {}
    for result in row.results:
        for name in result.metrics.get("collapsed", ()):
            seeds.setdefault(name, []).append(result.ticket)
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, tickets in seeds.items():
        groups.setdefault(tuple(tickets), []).append(name)
    where = f"layer collapse: {row.label} at {100 * row.sparsity:.2f} %"
    return [
        f"{where}: {', '.join(names)} ({len(tickets)} of {row.count} seeds)"
        for tickets, names in groups.items()
    ]


def _cells(row: Row) -> list[str]:
    average = row.known("average_num_parameters")
    return [
        row.label,
        f"{100 * row.sparsity:.2f}",
        row.spread("test_accuracy").percent(),
        str(row.count),
        f"{row.spread('num_parameters_kept').mean:,.0f}",
        "" if average is None else f"{average.mean:,.0f}",
        f"{row.spread('flops').mean:,.0f}",
        f"{100 * row.spread('sparsity_prunable').mean:.3f}",
        f"{100 * row.spread('sparsity_all').mean:.3f}",
        f"{row.seconds.mean:.1f}",
        row.spread("val_accuracy").percent(),
    ]


def _values(row: Row) -> list[object]:
    spreads: list[Spread | None] = [row.spread(name) for name in METRICS]
    spreads += [row.known(name) for name in METRICS_SINCE]
    spreads.append(row.seconds)
    return [row.label, row.sparsity, row.count, *mean_and_std(spreads)]
