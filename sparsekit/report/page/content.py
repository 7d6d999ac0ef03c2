"""All that a page shows, as plain data: JSON within it, from which its script builds the rest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sparsekit.report.claims import answers, claims_of
from sparsekit.report.collect import Record, results_of, unfinished
from sparsekit.report.formats import Table
from sparsekit.report.notes import studied
from sparsekit.report.page.results import metric_facts, points, runs, store_roots, tickets
from sparsekit.report.page.sweeps import Facts, failures, sweeps_of
from sparsekit.report.rows import Row, by_metric, kind_of_result, rows_of
from sparsekit.report.studied import studies_table
from sparsekit.report.tables import main_table
from sparsekit.report.verdicts import claims_table, claims_title


def content_of(
    records: Sequence[Record],
    *,
    title: str | None = None,
    sweeps: Sequence[Facts] | None = None,
    damaged: Sequence[str] = (),
) -> Mapping[str, Any]:
    """Collect what a page shows of these runs; of the `sweeps` that asked for them, unless given.

    What is damaged is left out and named on the page.
    """
    noted = list(damaged)
    results = results_of(records, studies=None, note=noted.append)
    rows = rows_of(results, records)
    asked = sweeps_of(records) if sweeps is None else sweeps
    labels = {kind_of_result(result): row.label for row in rows for result in row.results}
    experiments = dict.fromkeys(record.content["experiment"] for record in records)
    return {
        "title": title or ", ".join(experiments) or "sparsekit",
        "made": time.time(),
        "stores": store_roots(results),
        "sweeps": list(asked),
        "seconds": sum({one.ticket: one.seconds for one in results}.values()),
        "groups": [
            {
                "metric": metric_facts(metric),
                "table": table_facts(main_table(several), without=studied(several)),
                "points": points(several),
            }
            for metric, several in by_metric(rows).items()
        ],
        "claims": _claims(records, rows),
        "runs": runs(records, results, labels),
        "tickets": tickets(rows),
        "studies": _studies(rows),
        "failures": failures(asked, records),
        "unfinished": unfinished(records),
        "damaged": list(dict.fromkeys(noted)),
    }


def table_facts(table: Table, *, without: Sequence[str] = ()) -> Mapping[str, Any]:
    """Return the headers, cells and notes of a table, but those that a page has no use for."""
    return {
        "headers": list(table.headers),
        "rows": [list(line) for line in table.cells],
        "notes": [note for note in table.lines_below if note not in without],
    }


def _claims(records: Sequence[Record], rows: Sequence[Row]) -> Mapping[str, Any] | None:
    """Return what the experiments claim: each claim in words, and the table behind the verdicts."""
    found = answers(claims_of(records), rows)
    if not found:
        return None
    stated = [{"says": one.claim.says, "verdict": one.verdict} for one in found]
    return {"stated": stated, "title": claims_title(found), **table_facts(claims_table(found))}


def _studies(rows: Sequence[Row]) -> Mapping[str, Any] | None:
    table = studies_table(rows)
    return table_facts(table) if table.cells else None
