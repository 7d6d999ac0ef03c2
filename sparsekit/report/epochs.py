"""The end of a fit and its best validated epoch, told apart: `--epochs`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.report.collect import Result
from sparsekit.report.formats import Table
from sparsekit.report.notes import caption
from sparsekit.report.reading import WORDS, is_number, metric_of, scale, written
from sparsekit.report.rows import Row
from sparsekit.report.spread import Spread, mean_and_std
from sparsekit.store.store import CorruptResult, Store
from sparsekit.tasks.metric import Metric

HISTORY = "history.json"
NAMES = ("last_val", "last_epoch", "best_val", "best_val_epoch")
COLUMNS = tuple(f"{name}_{kind}" for name in NAMES for kind in ("mean", "std"))
CAVEAT = (
    "all other tables show networks as they are at the end of training; the best epoch is chosen "
    "on validation after the fact, and its network is neither kept nor tested"
)
NONE = "no best epoch of its own: it was merged of several fits, or the history is gone"


def epochs(rows: Sequence[Row]) -> Table:
    """Tabulate validation at the last epoch of the fits, and at the best one, with both epochs.

    Of the row's own fits, not of those before: the epochs are those of the cycle. A ticket that was
    merged of several fits has none of its own.
    """
    measured = [(row, [best_and_last(result) for result in row.results]) for row in rows]
    known = [(row, seeds) for row, seeds in measured if all(seeds)]
    spreads = [
        [Spread.of_all(seed[name] for seed in seeds) for name in NAMES] for _, seeds in known
    ]
    several = [row.name for row, seeds in measured if not all(seeds)]
    return Table(
        headers=[
            "method", "sparsity", "n", "validation at the last epoch", "last epoch",
            "validation at the best epoch", "best epoch",
        ],
        cells=[_cells(row, found) for (row, _), found in zip(known, spreads, strict=True)],
        columns=["method", "sparsity", "n", *COLUMNS, "metric"],
        values=[
            [row.name, row.sparsity, row.count, *mean_and_std(found), row.metric.name]
            for (row, _), found in zip(known, spreads, strict=True)
        ],
        notes=[
            *([CAVEAT] if known else []),
            *(f"{name}: {NONE}" for name in dict.fromkeys(several)),
        ],
        caption=caption([row for row, _ in known]),
    )  # fmt: skip


def title(metric: Metric) -> str:
    """Say what the table's values are in."""
    unit = " (%)" if scale(metric) == 100 else ""
    return f"last and best epoch, by {WORDS['val']} {metric.name}{unit}"


def best_and_last(result: Result) -> dict[str, float]:
    """Return validation at the last validated epoch and at the best one, and these epochs.

    The first of equally good ones; nothing for a ticket of several fits, or one without validation.
    """
    store = Store(Path(result.store))
    fits = [key for key in store.description(result.ticket)["inputs"] if key.startswith("fit-")]
    try:
        rows = store.read(fits[0], HISTORY) if len(fits) == 1 else []
    except (CorruptResult, OSError):
        return {}
    return of_history(rows, metric_of(result.metrics))


def of_history(rows: Sequence[Mapping[str, Any]], metric: Metric) -> dict[str, float]:
    """Return the same of the rows of a fit's history; nothing where none is validated.

    >>> rows = [{"epoch": 1.0, "val_mse": 0.5}, {"epoch": 2.0, "val_mse": 0.75}]
    >>> of_history(rows, Metric("mse", "min"))
    {'last_val': 0.75, 'last_epoch': 2.0, 'best_val': 0.5, 'best_val_epoch': 1.0}
    """
    name = f"val_{metric.name}"
    known = [row for row in rows if is_number(row.get(name)) and math.isfinite(row[name])]
    if not known:
        return {}
    best, last = max(known, key=lambda row: metric.quality(row[name])), known[-1]
    values = (last[name], last["epoch"], best[name], best["epoch"])
    return dict(zip(NAMES, map(float, values), strict=True))


def _cells(row: Row, found: Sequence[Spread | None]) -> list[str]:
    last, last_epoch, best, best_epoch = found
    return [
        row.name,
        f"{100 * row.sparsity:.2f}",
        row.count_text,
        written(row.metric, last),
        "" if last_epoch is None else f"{last_epoch.mean:.4g}",
        written(row.metric, best),
        "" if best_epoch is None else f"{best_epoch.mean:.4g}",
    ]
