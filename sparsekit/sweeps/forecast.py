"""The table that `--dry-run` prints: how runs differ, and what each has to compute."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from sparsekit.configuration.compose import Run
from sparsekit.report.formats import Table, terminal
from sparsekit.runs.planning import Share, share_out
from sparsekit.runs.runner import prepare_run
from sparsekit.sweeps.differences import differing
from sparsekit.sweeps.records import member_of

COUNTS = ("stages", "done", "shared", "to compute", "fits")


def forecast(runs: Sequence[Run]) -> str:
    """Tabulate runs before they start: how they differ, and how much each has to compute."""
    shares = list(share_out([prepare_run(run) for run in runs]))
    differs = differing([run.overrides for run in runs])
    keys = list(dict.fromkeys(key for one in differs for key in one))
    rows: list[list[Any]] = [
        [member_of(number), *(one.get(key, "") for key in keys), *dataclasses.astuple(share)]
        for number, (one, share) in enumerate(zip(differs, shares, strict=True))
    ]
    total = sum(shares, Share(0, 0, 0, 0, 0))
    note = (
        f"{len(runs)} run{'s' * (len(runs) != 1)}, {total.stages} stages: {total.done} done, "
        f"{total.shared} shared, {total.to_compute} to compute "
        f"({total.fits} fit{'s' * (total.fits != 1)})"
    )
    headers = ["run", *keys, *COUNTS]
    cells = [[str(cell) for cell in row] for row in rows]
    return terminal(Table(headers, cells, columns=headers, values=rows, notes=["", note]))
