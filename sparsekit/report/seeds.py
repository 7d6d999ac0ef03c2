"""Every number by itself: one line for each seed of each row, `--seeds`."""

from __future__ import annotations

from collections.abc import Sequence

from sparsekit.report.collect import Result
from sparsekit.report.formats import Table
from sparsekit.report.reading import header, written
from sparsekit.report.records import plain_row
from sparsekit.report.rows import Row
from sparsekit.report.spread import Spread
from sparsekit.tasks.metric import ACCURACY, Metric


def seeds_table(rows: Sequence[Row]) -> Table:
    """Tabulate the results of a table, seeds apart; for machines with all that is known of each.

    The columns of a CSV are those of `sparsekit.results`; a result leaves empty what it lacks.
    """
    metric = rows[0].metric if rows else ACCURACY
    plain = [plain_row(result, row.label) for row in rows for result in row.results]
    columns = list(dict.fromkeys(name for one in plain for name in one))
    return Table(
        headers=[
            "method", "sparsity", "seed", "cycle", header(metric, "test"), header(metric, "val"),
            "seconds", "ticket",
        ],
        cells=[
            [
                row.name,
                f"{100 * row.sparsity:.2f}",
                str(result.seed),
                str(result.cycle),
                _one(metric, result, "test"),
                _one(metric, result, "val"),
                f"{result.seconds:.1f}",
                result.ticket,
            ]
            for row in rows
            for result in row.results
        ],
        columns=columns,
        values=[[one.get(name) for name in columns] for one in plain],
    )  # fmt: skip


def _one(metric: Metric, result: Result, split: str) -> str:
    value = result.metrics.get(f"{split}_{metric.name}")
    return "" if value is None else written(metric, Spread(value, None, 1))
